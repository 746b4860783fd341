"""The digits service: `POST /predict` recognises an 8×8 image; `GET /healthz`, `GET /metrics`.

HOST=127.0.0.1 PORT=8080 python app.py
curl -d '{"image": [0, 0, 5, 13, …]}' http://127.0.0.1:8080/predict
"""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from metrics import Metrics
from model import BRIGHTEST, Model

PIXELS = 64
LARGEST_BODY = 16_384
DRAIN_SECONDS = 2.0


def scaled(image):
    """The pixels as numbers of 0..1; `ValueError` says what is wrong with the image."""
    if not isinstance(image, list) or len(image) != PIXELS:
        raise ValueError(f"image: a list of {PIXELS} pixels")
    return [float(pixel) / BRIGHTEST for pixel in image]


def answer(model, body):
    """The answer to one request body and how it compares with the label, if the visitor sent one."""
    request = json.loads(body)
    if not isinstance(request, dict):
        raise ValueError("body: an object with an image")
    digit = int(model.predict(np.array([scaled(request.get("image"))]))[0])
    label = request.get("label")
    outcome = "unlabelled" if label is None else "right" if label == digit else "wrong"
    return {"digit": digit}, outcome


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    server: "Server"

    def do_GET(self):
        if self.path == "/healthz":
            self.reply(200, b"ok\n", "text/plain")
        elif self.path == "/metrics":
            self.reply(200, self.server.metrics.text().encode(), "text/plain; version=0.0.4")
        else:
            self.reply(404, b"not found\n", "text/plain")

    def do_POST(self):
        if self.path != "/predict":
            self.close_connection = True
            self.reply(404, b"not found\n", "text/plain")
            return
        began = time.perf_counter()
        code, document, outcome = self.predict()
        self.server.metrics.count(code, outcome, time.perf_counter() - began)
        self.reply(code, json.dumps(document).encode() + b"\n", "application/json")

    def predict(self):
        """Status code, JSON document, outcome for the metrics."""
        try:
            size = int(self.headers.get("Content-Length", 0))
            if size > LARGEST_BODY:
                self.close_connection = True
                raise ValueError("body: too large")
            document, outcome = answer(self.server.model, self.rfile.read(size))
        except ValueError as problem:
            return 400, {"error": str(problem)}, None
        except Exception as problem:
            self.log_error("cannot predict: %r", problem)
            return 500, {"error": "cannot predict"}, "failed"
        return 200, document, outcome

    def reply(self, code, body, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Pod", self.server.pod)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        """Nothing: the metrics count requests."""


class Server(ThreadingHTTPServer):
    """The model, its metrics and the name of the pod that answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address):
        super().__init__(address, Handler)
        self.model = Model.load()
        self.metrics = Metrics()
        self.pod = os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or "local"


def main():
    host = os.environ.get("HOST") or os.environ.get("POD_IP") or "127.0.0.1"
    server = Server((host, int(os.environ.get("PORT") or 8080)))

    def drain(*_):
        """Serve until the last client has heard that this pod is leaving, then stop."""
        threading.Timer(DRAIN_SECONDS, server.shutdown).start()

    signal.signal(signal.SIGTERM, drain)
    print(f"serving on {host}:{server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.2)
    server.server_close()


if __name__ == "__main__":
    main()
