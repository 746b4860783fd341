"""One case said to one server: plain HTTP and JSON, so that the request is what the case shows."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.contract import answers
from tests.contract.cases import Case, Step, filled

TYPES = {
    "json": "application/json",
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "patch": "application/json-patch+json",
    "yaml": "application/yaml",
}
GROUPS = {
    "apps": ("deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"),
    "batch": ("jobs", "cronjobs"),
    "networking.k8s.io": ("ingresses", "networkpolicies"),
    "discovery.k8s.io": ("endpointslices",),
    "coordination.k8s.io": ("leases",),
    "policy": ("poddisruptionbudgets",),
    "rbac.authorization.k8s.io": ("roles", "rolebindings"),
    "example.com": ("widgets",),
}
PATIENCE = 60.0
PAUSE = 0.05


@dataclass(frozen=True)
class Server:
    """Where a server is, and how to reach it."""

    name: str
    url: str
    pool: urllib3.PoolManager
    kubeconfig: Path

    def ask(self, step: Step, namespace: str) -> tuple[int, Any, Mapping[str, str]]:
        """Status code, body (JSON, a list of JSON lines for a watch, else text), headers."""
        method, _, target = step.ask.partition(" ")
        data = step.text if step.text is not None else None if step.body is None else json.dumps(step.body)
        headers = {"user-agent": "contract/1.0", "accept": "application/json", **step.headers}
        if data is not None:
            headers = {"content-type": TYPES.get(step.type, step.type), **headers}
        url = self.url + _path(target, namespace)
        answer = self.pool.request(method, url, body=data, headers=headers, timeout=30.0)
        return answer.status, _parsed(answer.data, watched="watch=" in target), answer.headers


def run(server: Server, case: Case, unique: str) -> list[dict[str, Any]]:
    """What the server answered to each step, as far as it counts."""
    namespace = f"ns-{unique}"
    known: dict[str, Any] = {"NS": namespace, "ID": unique}
    names = answers.Names({namespace: "$NS", unique: "$ID"})
    told = []
    for number, raw in enumerate(case.steps, start=1):
        step = Step(**filled(raw, known))
        code, body, headers = _patiently(server, step, namespace)
        known |= {f"{number}.{path}": value for path, value in _leaves(body)}
        told.append(answers.shown(code, body, step.show, names, headers))
    return told


def _patiently(server: Server, step: Step, namespace: str) -> tuple[int, Any, Mapping[str, str]]:
    """Asked again until it is as the step says; what it was when patience ended tells the difference."""
    end = time.monotonic() + PATIENCE
    while True:
        code, body, headers = server.ask(step, namespace)
        reached = all(
            (code if path == "code" else answers.at(body, path)) == value
            for path, value in step.until.items()
        )
        if reached or time.monotonic() > end:
            return code, body, headers
        time.sleep(PAUSE)


def _leaves(body: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(body, dict):
        return [leaf for key, value in body.items() for leaf in _leaves(value, f"{prefix}{key}.")]
    if isinstance(body, list):
        return [leaf for index, value in enumerate(body) for leaf in _leaves(value, f"{prefix}{index}.")]
    return [(prefix.rstrip("."), body)]


def _path(short: str, namespace: str) -> str:
    """`configmaps/a` is short for the one in the case's namespace."""
    if short.startswith("/"):
        return short
    plural = short.partition("?")[0].partition("/")[0]
    group = next((group for group, plurals in GROUPS.items() if plural in plurals), "")
    return f"{f'/apis/{group}' if group else '/api'}/v1/namespaces/{namespace}/{short}"


def _parsed(data: bytes, *, watched: bool) -> Any:
    try:
        found = json.loads(data)
    except ValueError:
        lines = data.decode().splitlines()
        return [json.loads(line) for line in lines] if watched else data.decode()
    return [found] if watched and found.get("kind") != "Status" else found
