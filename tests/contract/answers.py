"""What of an answer counts, and what every run has anew: uids, times, versions, addresses.

The server's own Go structures, which some messages print whole, do not count: they change with every release.

`show` is a list of dotted paths (`spec.ports`, `items.0.metadata.name`), or `all` for the whole body. Of a Status
all counts. Without `show`: names and versions of a list, the cells of a Table, version and generation of an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "answers"
UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
VERSION = re.compile(r"((?i:resource ?version)\D{1,30})(\d+)")
AGE = re.compile(r"\d+[smh]")
STRUCTURE = re.compile(r'(Invalid value: )"?\{.*?\}"?(?=: [a-z`])', re.DOTALL)
INNER_DIFF = re.compile(r"\n@@.*", re.DOTALL)
ADDRESS = re.compile(r"\b10\.\d+\.\d+\.\d+\b")
NOTABLE = ("generation", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers")


@dataclass
class Names:
    """Stable names for what differs from run to run: the same value gets the same name throughout a case."""

    texts: Mapping[str, str]
    seen: dict[str, str] = field(default_factory=dict)

    def of(self, text: str) -> str:
        """The text with times, uids, addresses and the case's own names replaced."""
        for value, name in self.texts.items():
            text = text.replace(value, name)
        text = STRUCTURE.sub(r"\1{…}", INNER_DIFF.sub("", text))
        text = VERSION.sub(lambda found: found[1] + self.numbered("rv", found[2]), text)
        text = UID.sub(lambda found: self.numbered("uid", found[0]), TIME.sub("<time>", text))
        return ADDRESS.sub(lambda found: self.numbered("ip", found[0]), text)

    def numbered(self, prefix: str, value: str) -> str:
        """`<prefix1>` for the first value of its sort, `<prefix2>` for the next."""
        known = sum(name.startswith(f"<{prefix}") for name in self.seen.values())
        return self.seen.setdefault(f"{prefix} {value}", f"<{prefix}{known + 1}>")


def shown(code: int, body: Any, show: Any, names: Names, headers: Mapping[str, str]) -> dict[str, Any]:
    """The part of an answer that is compared, with stable names, ready for YAML."""
    parts = _parts(body, show)
    warning = headers.get("Warning")
    return {"code": code, **({"warning": warning} if warning else {}), **_stable(parts, names)}


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; None when there is none."""
    for part in path.split("."):
        if isinstance(body, list):
            body = body[int(part)] if part.isdigit() and int(part) < len(body) else None
        else:
            body = body.get(part) if isinstance(body, dict) else None
    return body


def _parts(body: Any, show: Any) -> dict[str, Any]:
    if isinstance(body, dict) and body.get("kind") == "Status":
        return _status(body)
    if isinstance(show, list):
        return {path: at(body, path) for path in show}
    if isinstance(body, list):
        return {"events": _events(body)}
    if not isinstance(body, dict):
        return {"text": str(body).strip()}
    if show == "all":
        return {"body": _without_managers(body)}
    for fits, reader in _READERS:
        if fits(str(body.get("kind", ""))):
            return reader(body)
    return {key: body["metadata"][key] for key in NOTABLE if key in body.get("metadata", {})}


def _status(body: dict[str, Any]) -> dict[str, Any]:
    told = {key: body[key] for key in ("status", "reason", "message", "details") if key in body}
    causes = (body.get("details") or {}).get("causes") or []
    if causes and all(cause.get("reason") == "FieldManagerConflict" for cause in causes):
        # Kubernetes walks a Go map of managers: their order is chance
        told["details"] = {
            **body["details"],
            "causes": sorted(causes, key=lambda c: (c["field"], c["message"])),
        }
    return told


def _list(body: dict[str, Any]) -> dict[str, Any]:
    names = [item["metadata"]["name"] for item in body.get("items") or []]
    return {"kind": body["kind"], "names": names, **body["metadata"]}


def _table(body: dict[str, Any]) -> dict[str, Any]:
    columns = [column["name"] for column in body.get("columnDefinitions") or []]
    return {"columns": columns, "rows": [list(map(_ageless, row["cells"])) for row in body.get("rows") or []]}


_READERS: Sequence[tuple[Callable[[str], bool], Callable[[dict[str, Any]], dict[str, Any]]]] = (
    (lambda kind: kind == "Table", _table),
    (lambda kind: kind.endswith("List") and kind != "APIResourceList", _list),
)


def _ageless(cell: Any) -> Any:
    return "<age>" if isinstance(cell, str) and AGE.fullmatch(cell) else cell


def _events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How often the same bookmark comes is chance on the real server."""
    told: list[dict[str, Any]] = []
    for event in map(_event, events):
        if event["type"] != "BOOKMARK" or event not in told[-1:]:
            told.append(event)
    return told


def _event(event: dict[str, Any]) -> dict[str, Any]:
    body = event["object"]
    if body.get("kind") == "Status":
        return {"type": event["type"], **_status(body), "code": body.get("code")}
    if event["type"] == "BOOKMARK":
        return {"type": "BOOKMARK", "kind": body.get("kind")}
    meta = body["metadata"]
    return {"type": event["type"], "name": meta["name"], "resourceVersion": meta["resourceVersion"]}


def _without_managers(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in body.get("metadata", {}).items() if k != "managedFields"}
    return {**body, **({"metadata": metadata} if "metadata" in body else {})}


def _stable(thing: Any, names: Names, key: str = "") -> Any:
    if isinstance(thing, dict):
        return {k: _stable(v, names, k) for k, v in sorted(thing.items())}
    if isinstance(thing, list):
        return [_stable(item, names, key) for item in thing]
    if not isinstance(thing, str):
        return thing
    if key.rpartition(".")[2] in ("resourceVersion", "continue") and thing:
        return names.numbered("rv" if key.endswith("resourceVersion") else "token", thing)
    return "<hash>" if key == "storageVersionHash" else names.of(thing)


def read(topic: str) -> dict[str, Any]:
    """The recorded answers of a topic by the case's sentence."""
    path = FOLDER / f"{topic}.yaml"
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def write(topic: str, found: Mapping[str, Any]) -> None:
    """Keep what the real control plane answered."""
    FOLDER.mkdir(exist_ok=True)
    plain = json.loads(json.dumps(found))
    text = yaml.safe_dump(plain, sort_keys=False, width=118, allow_unicode=True, default_flow_style=None)
    (FOLDER / f"{topic}.yaml").write_text(text)
