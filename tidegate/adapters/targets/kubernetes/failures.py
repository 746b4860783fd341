"""The API server's "no" in our words: what class of error it is, and what the user reads.

Status causes are kept, values are not: an error about a Secret quotes the Secret (argo-cd CVE-2025-23216).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidegate.errors import Conflict, NotFound, OutsideError, Rejected, Unreachable

_PERMANENT_500 = (
    "failed to create typed patch object",
    "failed to create typed live object",
    "request is too large",
)
_MAX_MESSAGE = 1000


class Transient(Unreachable):
    """An answer or a broken connection that is worth asking again right away."""


def failure(
    subject: str, status: int, headers: Mapping[str, str], body: bytes, *, secret: bool = False
) -> OutsideError:
    """The error for an answer of 400 or more; `subject` names the object, `secret` hides what is quoted."""
    answer = _status(body)
    message, causes = _message(answer, body), _causes(answer)
    if secret:
        message = _scrubbed(answer, causes)
    words = message[:_MAX_MESSAGE]
    match status:
        case 401:
            return Rejected(
                f"{subject}: the API server does not know us (401); check the context's credentials"
            )
        case 403 if any(c.get("reason") == "NamespaceTerminating" for c in causes):
            return Unreachable(f"{subject}: its namespace is being deleted; try again when it is gone")
        case 403:
            return Rejected(f"{subject}: not allowed (403): {words}; grant it in a Role for this user")
        case 404:
            return NotFound(f"{subject}: not found: {words}")
        case 409:
            return _conflict(subject, causes, words)
        case 429 | 502 | 503 | 504:
            after = _retry_after(headers)
            busy = "throttled" if status == 429 else "not available"
            told = f", come back in {after:g} s" if after is not None else ""
            return Transient(
                f"{subject}: the API server is {busy} ({status}{told}): {words}", retry_after=after
            )
        case 500 if any(text in _message(answer, body) for text in _PERMANENT_500):
            return Rejected(f"{subject}: cannot be applied: {words}")
        case 500:
            return Transient(f"{subject}: the API server failed (500): {words}")
        case _:
            return Rejected(f"{subject}: refused ({status}): {words}")


def _status(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _message(answer: dict[str, Any], body: bytes) -> str:
    # An unknown group is answered in plain text, not with a Status.
    return str(answer.get("message") or body.decode(errors="replace").strip() or "no reason given")


def _causes(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return (answer.get("details") or {}).get("causes") or []


def _scrubbed(answer: dict[str, Any], causes: list[dict[str, Any]]) -> str:
    fields = ", ".join(f"{c.get('field') or '?'} ({c.get('reason') or '?'})" for c in causes)
    return (
        f"{answer.get('reason') or 'no reason given'}{f': {fields}' if fields else ''}; values are not shown"
    )


def _conflict(subject: str, causes: list[dict[str, Any]], words: str) -> Conflict:
    owners = [c for c in causes if c.get("reason") == "FieldManagerConflict"]
    if not owners:
        return Conflict(f"{subject}: somebody else changed it first: {words}")
    told = "; ".join(f"{c.get('field')}: {c.get('message')}" for c in owners)
    return Conflict(f"{subject}: fields belong to others: {told}"[:_MAX_MESSAGE])


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After") or headers["retry-after"]))
    except (KeyError, ValueError):
        return None
