"""Two states of an object for eyes: the fields that are ours, secrets masked, sizes bounded."""

from __future__ import annotations

import difflib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import Any

from tidegate.domain import fields
from tidegate.domain.manifests import Manifest, dump, masked
from tidegate.domain.tracking import APP_LABEL, TRACKING_ID

_MAX_LINES, _MAX_WIDTH, _MAX_VALUE = 300, 400, 80
_TAG_KEY = secrets.token_bytes(16)
"""Keys the tags of secret values in diffs: equal inside one process, not comparable across."""

Sides = tuple[Manifest | None, Manifest | None]


def sides(live: Manifest | None, desired: Manifest | None, predicted: Manifest | None) -> Sides:
    """Live and coming state, reduced to the fields we own on either side, fit for eyes."""
    coming = predicted or desired
    ours, coming_ours = fields.ours_to_say(live), fields.owned(predicted)
    if predicted is not None and coming_ours is not None:
        mask = fields.union(ours, coming_ours) if ours is not None else coming_ours
        return _fit(live, mask), _fit(coming, coming_ours)
    if coming is None or live is None:
        return _fit(live, ours), _fit(coming, None)
    return _shaped(_fit(live, None), _fit(coming, None)), _fit(coming, None)


def unified(name: str, before: Manifest | None, after: Manifest | None) -> str:
    """A unified diff of two sides, at most 300 lines; empty when they are equal."""
    lines = difflib.unified_diff(
        _lines(before), _lines(after), f"{name} (live)", f"{name} (desired)", lineterm=""
    )
    return _bounded(list(lines))


def clashing(found: Iterable[fields.Clash], live: Manifest, predicted: Manifest | None) -> str:
    """Who has set what when, and what Git says: `spec.replicas is 4, set by hpa at …; Git says 2`."""
    theirs, ours = masked(live, _tag), masked(predicted or {}, _tag)
    return ", ".join(
        f"{path} is {_short(value)}, set by {clash.manager}{f' at {clash.at}' if clash.at else ''}; "
        f"Git says {_short(dict(fields.leaves(clash.fields, ours)).get(path))}"
        for clash in found
        for path, value in fields.leaves(clash.fields, theirs)
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"


def _fit(obj: Manifest | None, mask: fields.FieldSet | None) -> Manifest | None:
    if obj is None:
        return None
    clean = masked(obj, _tag)
    if mask is not None:
        named = {"name": clean["metadata"].get("name"), "namespace": clean["metadata"].get("namespace")}
        shape = fields.project(clean, mask) or {}
        meta = {k: v for k, v in named.items() if v} | (shape.get("metadata") or {})
        clean = {"apiVersion": clean["apiVersion"], "kind": clean["kind"], **shape, "metadata": meta}
    for part, key in (("annotations", TRACKING_ID), ("labels", APP_LABEL)):
        # Our own marks are on everything; in a diff they would only be noise.
        left = {k: v for k, v in (clean["metadata"].get(part) or {}).items() if k != key}
        clean["metadata"] = {k: v for k, v in clean["metadata"].items() if k != part} | (
            {part: left} if left else {}
        )
    return clean


def _shaped(live: Any, like: Any) -> Any:
    """The parts of `live` that `like` also speaks of, for servers that do not tell who owns what."""
    if isinstance(live, dict) and isinstance(like, dict):
        return {k: _shaped(v, like[k]) for k, v in live.items() if k in like}
    if isinstance(live, list) and isinstance(like, list) and len(live) == len(like):
        return [_shaped(a, b) for a, b in zip(live, like, strict=True)]
    return live


def _tag(where: str, value: str) -> str:
    return "••••" + hmac.new(_TAG_KEY, value.encode(), "sha256").hexdigest()[:4]


def _lines(obj: Manifest | None) -> list[str]:
    return dump(obj).decode().splitlines() if obj is not None else []


def _bounded(lines: list[str]) -> str:
    cut = [line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]}…" for line in lines[:_MAX_LINES]]
    if len(lines) > _MAX_LINES:
        cut.append(f"… {len(lines) - _MAX_LINES} more lines")
    return "\n".join(cut) + "\n" if cut else ""
