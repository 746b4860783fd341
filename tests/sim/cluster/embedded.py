"""What the cluster tests share: a server to deploy, its image written by hand, kubectl, patience."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import urllib3
import yaml

T = TypeVar("T")
PATIENCE = 90.0

SERVER = """
import http.server, os, signal, socketserver, sys, threading, time

started = time.time()
name, version = os.environ.get("NAME", "?"), os.environ.get("VERSION", "0")
requests = 0
if os.environ.get("CRASH"):
    print("cannot open the model", file=sys.stderr)
    sys.exit(3)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global requests
        if self.path == "/healthz":
            sick = os.path.exists("sick") or os.environ.get("NEVER_READY")
            return self.answer(503 if sick else 200, "sick" if sick else "ok")
        if self.path == "/env":
            return self.answer(200, "\\n".join(f"{k}={v}" for k, v in sorted(os.environ.items())))
        if self.path.startswith("/file/"):
            return self.answer(200, open("." + self.path[5:]).read())
        if self.path == "/sicken":
            open("sick", "w").close()
            return self.answer(200, "done")
        if self.path == "/metrics":
            return self.answer(200, f'demo_requests_total{{version="{version}"}} {requests}\\n')
        requests += 1
        self.answer(200, f"{name} {version} {os.getpid()}")
    def answer(self, code, text):
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
    def log_message(self, *args):
        print("asked", self.path, flush=True)

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128
    allow_reuse_address = True

server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("serving as", name, "version", version, flush=True)
server.serve_forever(0.05)
server.server_close()
print("bye", flush=True)
"""


def until(look: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """The first truthy answer of `look`; a generous deadline, so only a real failure reaches it."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"not within {within:g} s: {what}; last answer: {found!r}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Shell:
    """kubectl against one cluster."""

    kubeconfig: Path

    def __call__(self, *words: str, stdin: str | None = None, ok: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", *words],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE + 30,
        )
        if ok and done.returncode:
            pytest.fail(f"kubectl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout if ok else done.stdout + done.stderr

    def apply(self, *objects: Mapping[str, Any]) -> str:
        return self(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects)
        )

    def get(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))


def push(registry: str, name: str, files: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """Writes a one-layer OCI image by the registry's HTTP API; the image reference by digest."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text.encode()), 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    layer = gzip.compress(raw.getvalue(), mtime=0)
    document = json.dumps({"architecture": "amd64", "os": "linux", "config": config}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor(document, "application/vnd.oci.image.config.v1+json"),
        "layers": [_descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    with urllib3.PoolManager() as pool:
        base = f"http://{registry}/v2/{name}"
        for blob in (layer, document):
            begun = pool.request("POST", f"{base}/blobs/uploads/")
            place = begun.headers["Location"]
            place = place if place.startswith("http") else f"http://{registry}{place}"
            joint = "&" if "?" in place else "?"
            done = pool.request("PUT", f"{place}{joint}digest={_digest(blob)}", body=blob)
            assert done.status == 201, done.data
        body = json.dumps(manifest).encode()
        headers = {"Content-Type": manifest["mediaType"]}
        done = pool.request("PUT", f"{base}/manifests/{_digest(body)}", body=body, headers=headers)
        assert done.status == 201, done.data
    return f"{registry}/{name}@{_digest(body)}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(data), "size": len(data)}


def push_server(registry: str) -> str:
    config = {"Entrypoint": ["python3", "/app/server.py"], "Env": ["VERSION=1"], "WorkingDir": "/app"}
    return push(registry, "demo", {"app/server.py": SERVER}, config)


def deployment(name: str, image: str, replicas: int = 1, **more: Any) -> dict[str, Any]:
    """A Deployment of the test server; `env`, `labels`, `container`, `spec`, `namespace` refine it."""
    labels = {"app": name, **more.pop("labels", {})}
    env = {"NAME": name, **more.pop("env", {})}
    container = {
        "name": "app",
        "image": image,
        "env": [{"name": k, "value": v} for k, v in env.items()],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        **more.pop("container", {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": more.pop("namespace", "default")},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": more.pop("annotations", {})},
                "spec": {
                    "containers": [container],
                    "terminationGracePeriodSeconds": 10,
                    **more.pop("pod", {}),
                },
            },
            **more,
        },
    }


def service(name: str, selector: Mapping[str, str], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": dict(selector), "ports": [{"port": 80, "targetPort": "http"}], **more},
    }
