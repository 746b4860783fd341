"""The service over real HTTP: what visitors and Prometheus see."""

import json
import threading
from contextlib import closing
from http.client import HTTPConnection

import pytest

from app import Server
from data import split


@pytest.fixture(scope="module")
def port():
    server = Server(("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def ask(port, method, path, body=None):
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()


def predict(port, body):
    code, text = ask(port, "POST", "/predict", json.dumps(body))
    return code, json.loads(text)


def test_it_says_that_it_is_well(port):
    assert ask(port, "GET", "/healthz") == (200, "ok\n")


def test_a_digit_is_recognised(port):
    _, _, images, labels = split()
    body = {"image": images[0].tolist(), "label": int(labels[0])}
    assert predict(port, body) == (200, {"digit": int(labels[0])})


@pytest.mark.parametrize("body", [{}, {"image": []}, {"image": "cat"}, [1, 2], {"image": ["x"] * 64}])
def test_a_body_without_an_image_is_refused(port, body):
    code, document = predict(port, body)
    assert code == 400
    assert document["error"]


def test_requests_and_outcomes_are_counted(port):
    _, _, images, labels = split()
    predict(port, {"image": images[0].tolist(), "label": int(labels[0])})
    predict(port, {"image": images[0].tolist(), "label": (int(labels[0]) + 1) % 10})
    predict(port, {"image": images[0].tolist()})
    _, text = ask(port, "GET", "/metrics")
    series = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(series['digits_requests_total{code="200"}']) >= 3
    assert float(series['digits_predictions_total{outcome="right"}']) >= 1
    assert float(series['digits_predictions_total{outcome="wrong"}']) >= 1
    assert float(series['digits_predictions_total{outcome="unlabelled"}']) >= 1
    name = "digits_request_duration_seconds"
    assert series[name + '_bucket{le="+Inf"}'] == series[name + "_count"]
