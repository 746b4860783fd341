"""The whole way on the embedded cluster: image, Deployment, real processes, their own words, their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.builders import archive
from tidegate.adapters.checks import http
from tidegate.adapters.targets.kubernetes import Cluster, Settings, build
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.manifests import Manifest, read
from tidegate.domain.plan import Owner
from tidegate.sim.cluster import Cluster as Embedded

OWNER = Owner("shop", "production", "default")
PROGRAM = """
import http.server, os
if os.environ.get("BROKEN"):
    raise ModuleNotFoundError("No module named 'numpie'")
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get("GREETING", "hello").encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer((os.environ["POD_IP"], int(os.environ.get("PORT", "8080"))), Page).serve_forever()
"""


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    with Embedded(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
def cluster(embedded: Embedded) -> Cluster:
    return build(Settings(kubeconfig=embedded.kubeconfig, namespace="shop", create_namespace=True))


@pytest.fixture
def image(embedded: Embedded, tmp_path: Path) -> str:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.py").write_text(PROGRAM)
    settings = archive.Settings(image=f"{embedded.registry}/web", entrypoint=("python3", "/app/main.py"))
    made = archive.build(settings).build(source, tree_id="t", revision="r", app="shop", run=lambda step: None)  # type: ignore[arg-type,return-value]
    return str(made)


def web(image: str, **environment: str) -> list[Manifest]:
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    env = json.dumps([address, *({"name": k, "value": v} for k, v in environment.items())])
    text = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: "{image}"
        env: {env}
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{httpGet: {{port: 8080, path: /}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""
    return read(text.encode(), "web.yaml")


def deploy(cluster: Cluster, manifests: list[Manifest]) -> Any:
    plan = cluster.look(OWNER, manifests)
    done = cluster.apply(OWNER, plan, fence=lambda: None)
    assert done.problems == ()
    return cluster.wait([c.ref for c in plan.changes], deadline_seconds=60, interrupted=lambda: None)


def test_good_bad_and_good_again(cluster: Cluster, image: str) -> None:
    answer = http.build(http.Settings(url="http://web.shop.svc/"))

    assert deploy(cluster, web(image)).status is HealthStatus.Healthy
    assert cluster.get_service("shop", "web", 80, "/", 5) == (200, b"hello")
    assert cluster.look(OWNER, web(image)).writes == ()

    bad = deploy(cluster, web(image, BROKEN="1"))
    assert bad.status is HealthStatus.Degraded
    assert bad.message.startswith("Deployment shop/web: web-")
    assert bad.message.endswith("CrashLoopBackOff, exit 1: ModuleNotFoundError: No module named 'numpie'")
    assert answer.verify(cluster).status is HealthStatus.Healthy, "the old pods still serve"

    assert deploy(cluster, web(image, GREETING="better")) == Health(HealthStatus.Healthy)
    assert cluster.get_service("shop", "web", 80, "/", 5) == (200, b"better")


def test_an_image_that_is_not_there_ends_the_wait(cluster: Cluster, image: str) -> None:
    missing = image.partition("@")[0] + "@sha256:" + "0" * 64
    found = deploy(cluster, web(missing))
    assert found.status is HealthStatus.Degraded
    assert "ImagePullBackOff" in found.message
