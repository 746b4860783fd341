"""Prometheus finds and scrapes the pods: by `kubernetes_sd_configs`, or by the target file if its build lacks them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from tests.sim.cluster.embedded import Shell, deployment, push_server, until
from tidegate.sim.cluster import Cluster

Get = Callable[[str], str]
POD = "__meta_kubernetes_pod_"


def scrape(discovery: dict[str, Any]) -> dict[str, Any]:
    """What a user would write for any cluster; the port annotation matters only where ports are remapped."""
    return {
        "job_name": "pods",
        "scrape_interval": "1s",
        **discovery,
        "relabel_configs": [
            {"source_labels": [f"{POD}annotation_prometheus_io_scrape"], "action": "keep", "regex": "true"},
            {
                "source_labels": ["__address__", f"{POD}annotation_prometheus_io_port"],
                "regex": r"([^:]+)(?::\d+)?;(\d+)",
                "replacement": "$1:$2",
                "target_label": "__address__",
            },
            {"source_labels": [f"{POD}name"], "target_label": "pod"},
            {"source_labels": [f"{POD}label_tidegate_dev_track"], "target_label": "track"},
        ],
    }


def discovery(cluster: Cluster) -> dict[str, Any]:
    """Kubernetes discovery where the binary knows it; Debian's does not."""
    known = b"__meta_kubernetes_pod_name" in Path(_binary()).read_bytes()
    if known:
        return {"kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(cluster.kubeconfig)}]}
    return {"file_sd_configs": [{"files": [str(cluster.targets)]}]}


def _binary() -> str:
    found = os.environ.get("TIDEGATE_PROMETHEUS") or shutil.which("prometheus")
    assert found, "prometheus is not on PATH: apt install prometheus"
    return found


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[Cluster], str]]:
    """Starts Prometheus for a cluster; its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(cluster: Cluster) -> str:
        config = tmp_path / "prometheus.yml"
        config.write_text(yaml.safe_dump({"scrape_configs": [scrape(discovery(cluster))]}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        words = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        with (tmp_path / "log").open("wb") as log:
            command = [_binary(), *words, f"--web.listen-address={address}"]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        url = f"http://{address}"
        until(lambda: _answers(url), "Prometheus is ready")
        return url

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("own_addresses", [True, False], ids=["an-address-per-pod", "remapped-ports"])
def test_prometheus_scrapes_every_pod_with_its_track(
    tmp_path: Path, prometheus: Callable[[Cluster], str], web: Get, own_addresses: bool
) -> None:
    with Cluster(tmp_path / "home", own_addresses=own_addresses) as cluster:
        kubectl, image = Shell(cluster.kubeconfig), push_server(cluster.registry)
        told = {"annotations": {"prometheus.io/scrape": "true"}}
        track = {"labels": {"tidegate.dev/track": "canary"}, "env": {"VERSION": "2"}}
        kubectl.apply(
            deployment("web", image, 2, **told), deployment("web-canary", image, 1, **track, **told)
        )
        for name in ("web", "web-canary"):
            kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
        url = prometheus(cluster)

        def scraped() -> set[tuple[str, str]]:
            answer = json.loads(web(f"{url}/api/v1/query?query={quote('demo_requests_total')}"))
            return {
                (r["metric"].get("track", "stable"), r["metric"]["pod"]) for r in answer["data"]["result"]
            }

        until(lambda: len(scraped()) == 3, "three pods are scraped")
        assert sorted(track for track, _ in scraped()) == ["canary", "stable", "stable"]
        names = {p["metadata"]["name"] for p in kubectl.get("pods")["items"]}
        assert {pod for _, pod in scraped()} == names
        kubectl("delete", "deployment", "web-canary", "--wait=false")
        until(lambda: {track for track, _ in scraped()} == {"stable"}, "the canary is forgotten")
