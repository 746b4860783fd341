"""Does it answer? Asked through the API server for services, directly for everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tidegate.adapters.checks.http import Settings, build
from tidegate.adapters.targets.kubernetes import Cluster
from tidegate.adapters.targets.kubernetes import Settings as TargetSettings
from tidegate.adapters.targets.kubernetes import build as build_target
from tidegate.domain.health import HealthStatus
from tidegate.domain.manifests import read
from tidegate.domain.plan import Owner
from tidegate.sim.apiserver import ApiServer


class Site(ThreadingHTTPServer):
    """Answers with what it was told to, in turn; the last answer stays."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.answers: list[int] = [200]
        self.asked: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        body = b"all is well\nmore" if status == 200 else b"no database"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path, site: Site) -> Iterator[Cluster]:
    """A cluster whose service `web` leads to the site."""
    with ApiServer() as server:
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        cluster = build_target(TargetSettings(kubeconfig=kubeconfig, namespace="shop", create_namespace=True))
        owner = Owner("shop", "production", "default")
        text = f"""
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: ["127.0.0.1"], conditions: {{ready: true}}}}]
ports: [{{name: http, port: {site.port}, protocol: TCP}}]
"""
        done = cluster.apply(owner, cluster.look(owner, read(text.encode(), "x")), fence=lambda: None)
        assert done.problems == ()
        yield cluster


def check(**settings: Any) -> Any:
    return build(Settings.model_validate(settings))


def test_a_service_is_asked_through_the_api_server(target: Cluster, site: Site) -> None:
    found = check(url="http://web.shop.svc/healthz?deep=1").verify(target)
    assert (found.status, found.message) == (
        HealthStatus.Healthy,
        "http://web.shop.svc/healthz?deep=1 answered 200",
    )
    assert site.asked == ["/healthz?deep=1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://web.shop.svc:80/healthz"},
        {"url": "http://web.shop.svc.cluster.local/healthz"},
        {"service": "web", "path": "/healthz"},
        {"service": "web", "port": "http", "path": "healthz"},
    ],
)
def test_a_service_may_be_named_in_many_ways(target: Cluster, site: Site, settings: dict[str, Any]) -> None:
    assert check(**settings).verify(target).status is HealthStatus.Healthy
    assert site.asked == ["/healthz"]


def test_other_addresses_are_asked_directly(target: Cluster, site: Site) -> None:
    assert check(url=f"http://127.0.0.1:{site.port}/x").verify(target).status is HealthStatus.Healthy
    assert site.asked == ["/x"]


def test_a_wrong_answer_is_degraded_at_once_with_both_numbers_and_the_first_line(
    target: Cluster, site: Site
) -> None:
    site.answers = [500]
    start = time.monotonic()
    found = check(url="http://web.shop.svc/healthz").verify(target)
    assert time.monotonic() - start < 2
    assert found.status is HealthStatus.Degraded
    assert found.message == "http://web.shop.svc/healthz answered 500, expected 200 within 10 s: no database"


def test_not_yet_is_asked_again_until_the_time_is_up(target: Cluster, site: Site) -> None:
    site.answers = [503, 503, 200]
    assert check(url="http://web.shop.svc/").verify(target).status is HealthStatus.Healthy
    site.answers = [503]
    found = check(url="http://web.shop.svc/", timeout="1s").verify(target)
    assert found.message == "http://web.shop.svc/ answered 503, expected 200 within 1 s: no database"


def test_a_redirect_is_an_answer_and_not_followed(target: Cluster, site: Site) -> None:
    site.answers = [302]
    url = f"http://127.0.0.1:{site.port}/"
    assert check(url=url, status=302).verify(target).status is HealthStatus.Healthy
    assert check(url=url).verify(target).status is HealthStatus.Degraded


def test_nobody_there_is_degraded_and_not_an_exception(target: Cluster) -> None:
    found = check(url="http://127.0.0.1:9/", timeout="0.5s").verify(target)
    assert found.status is HealthStatus.Degraded
    assert "did not answer, expected 200 within 0.5 s" in found.message


def test_a_service_that_is_not_there_is_degraded(target: Cluster) -> None:
    found = check(url="http://nope.shop.svc/", timeout="0.5s").verify(target)
    assert found.status is HealthStatus.Degraded
    assert "answered 404" in found.message


@pytest.mark.parametrize(
    "settings",
    [{}, {"url": "http://x/", "service": "x"}, {"url": "ftp://x/"}, {"url": "http://x/", "extra": 1}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(settings)
