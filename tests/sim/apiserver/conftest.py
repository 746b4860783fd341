"""A server of our own per test, and the smallest client that shows exactly what goes over the wire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tidegate.sim.apiserver import ApiServer

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def message(self) -> str:
        return str(self.body["message"])

    @property
    def causes(self) -> list[dict[str, str]]:
        return list((self.body.get("details") or {}).get("causes") or [])

    @property
    def rv(self) -> int:
        return int(self.body["metadata"]["resourceVersion"])


class Api:
    """Raw requests. Paths of namespaced kinds are short: `pods/a` is /api/v1/namespaces/shop/pods/a."""

    def __init__(self, url: str, pool: urllib3.PoolManager) -> None:
        self.url = url
        self.pool = pool

    def path(self, short: str) -> str:
        if short.startswith("/"):
            return short
        plural = short.partition("?")[0].partition("/")[0]
        groups = {
            "apps": ("deployments", "replicasets", "statefulsets", "daemonsets"),
            "batch": ("jobs", "cronjobs"),
            "networking.k8s.io": ("ingresses", "networkpolicies"),
            "discovery.k8s.io": ("endpointslices",),
            "coordination.k8s.io": ("leases",),
            "rbac.authorization.k8s.io": ("roles", "rolebindings"),
        }
        group = next((g for g, plurals in groups.items() if plural in plurals), "")
        return f"/apis/{group}/v1/namespaces/shop/{short}" if group else f"/api/v1/namespaces/shop/{short}"

    def ask(
        self, method: str, short: str, body: Any = None, *, kind: str = "application/json", **headers: str
    ) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {
            "content-type": kind,
            "user-agent": "tests/1.0",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        answer = self.pool.request(
            method, self.url + self.path(short), body=data, headers=sent, retries=False
        )
        try:
            parsed = json.loads(answer.data)
        except ValueError:
            parsed = answer.data.decode()
        return Answer(answer.status, parsed, dict(answer.headers))

    def get(self, short: str, **headers: str) -> Answer:
        return self.ask("GET", short, **headers)

    def post(self, short: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", short, body, **headers)

    def put(self, short: str, body: Any) -> Answer:
        return self.ask("PUT", short, body)

    def delete(self, short: str, body: Any = None) -> Answer:
        return self.ask("DELETE", short, body)

    def patch(self, short: str, body: Any, kind: str = MERGE) -> Answer:
        return self.ask("PATCH", short, body, kind=kind)

    def apply(self, short: str, body: Any, manager: str = "alice", query: str = "") -> Answer:
        return self.ask("PATCH", f"{short}?fieldManager={manager}{query}", body, kind=APPLY)

    def watch(self, short: str) -> list[dict[str, Any]]:
        """Every event until the server ends the stream; say timeoutSeconds."""
        answer = self.pool.request("GET", self.url + self.path(short), retries=False)
        return [json.loads(line) for line in answer.data.splitlines()]

    def until(self, holds: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Poll until it holds; the server's collector works in the background."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := holds():
                return found
            time.sleep(0.02)
        raise AssertionError("it never held")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(access_log=tmp_path / "access.jsonl") as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Callable[[str], Api]]:
    """A client of any server, closed at the end."""
    with urllib3.PoolManager(maxsize=8, timeout=urllib3.Timeout(20)) as pool:
        yield lambda url: Api(url, pool)


@pytest.fixture
def api(server: ApiServer, connect: Callable[[str], Api]) -> Api:
    """A client, and a namespace `shop` to work in."""
    api = connect(server.url)
    assert api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}}).status == 201
    return api


def _deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    containers = [{"name": "web", "image": "web:1"}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def _config(name: str = "conf", metadata: dict[str, Any] | None = None, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **(metadata or {})},
        "data": data,
    }


def _pod(name: str = "p", node: str = "", **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": "web:1"}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def _widgets(**version: Any) -> dict[str, Any]:
    properties = {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
                "replicas": {"type": "integer"},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}},
                    },
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    served = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [served],
        },
    }


@pytest.fixture
def deployment() -> Callable[..., dict[str, Any]]:
    return _deployment


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    return _config


@pytest.fixture
def pod() -> Callable[..., dict[str, Any]]:
    return _pod


@pytest.fixture
def widgets() -> Callable[..., dict[str, Any]]:
    return _widgets
