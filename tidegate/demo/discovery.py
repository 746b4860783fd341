"""Pods of an API server as Prometheus targets over `http_sd`, for a Prometheus built without Kubernetes support.

    python -m tidegate.demo.discovery --cluster URL --port 9091

Debian's package is such a build. The labels are those of `kubernetes_sd_configs` with `role: pod`, one target per
container port, so the same relabelling rules serve both.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

PREFIX = "__meta_kubernetes_"
_NOT_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")

Pod = Mapping[str, Any]


def targets(pods: list[Pod]) -> list[dict[str, Any]]:
    """Target groups for `http_sd`: one per container port of every pod that has an address."""
    return [group for pod in pods if pod.get("status", {}).get("podIP") for group in _ports(pod)]


def _ports(pod: Pod) -> Iterator[dict[str, Any]]:
    common = _pod_labels(pod)
    ip = pod["status"]["podIP"]
    for container in pod["spec"].get("containers", ()):
        for port in container.get("ports", ()):
            labels = {
                f"{PREFIX}pod_container_name": container["name"],
                f"{PREFIX}pod_container_image": container.get("image", ""),
                f"{PREFIX}pod_container_port_name": port.get("name", ""),
                f"{PREFIX}pod_container_port_number": str(port["containerPort"]),
                f"{PREFIX}pod_container_port_protocol": port.get("protocol", "TCP"),
            }
            yield {"targets": [f"{ip}:{port['containerPort']}"], "labels": common | labels}


def _pod_labels(pod: Pod) -> dict[str, str]:
    meta, status = pod["metadata"], pod["status"]
    ready = next((c["status"] for c in status.get("conditions", ()) if c["type"] == "Ready"), "unknown")
    labels = {
        f"{PREFIX}namespace": meta["namespace"],
        f"{PREFIX}pod_name": meta["name"],
        f"{PREFIX}pod_uid": meta["uid"],
        f"{PREFIX}pod_ip": status["podIP"],
        f"{PREFIX}pod_host_ip": status.get("hostIP", ""),
        f"{PREFIX}pod_node_name": pod["spec"].get("nodeName", ""),
        f"{PREFIX}pod_phase": status.get("phase", ""),
        f"{PREFIX}pod_ready": ready.lower(),
    }
    for kind in ("label", "annotation"):
        for name, value in (meta.get(f"{kind}s") or {}).items():
            safe = _NOT_IN_LABEL.sub("_", name)
            labels[f"{PREFIX}pod_{kind}_{safe}"] = value
            labels[f"{PREFIX}pod_{kind}present_{safe}"] = "true"
    return labels


class Discovery(ThreadingHTTPServer):
    """Answers every GET with the targets of this moment; 503 while the API server does not answer."""

    daemon_threads = True

    def __init__(self, cluster: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.cluster = cluster

    def look(self) -> bytes:
        """The targets as JSON; `OSError` or `ValueError` when the API server does not tell."""
        with urlopen(f"{self.cluster}/api/v1/pods", timeout=5) as reply:  # noqa: S310  # nosec B310
            return json.dumps(targets(json.load(reply)["items"])).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Discovery

    def do_GET(self) -> None:
        try:
            code, body = 200, self.server.look()
        except (OSError, ValueError, KeyError) as problem:
            code, body = 503, f"{problem}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json" if code == 200 else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: Prometheus asks every second."""


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.demo.discovery")
    parser.add_argument("--cluster", required=True, help="address of the API server")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Discovery(given.cluster, given.port).serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
