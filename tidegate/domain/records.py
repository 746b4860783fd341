"""What the ledger holds: one record per decision, enough to read the history and to judge again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What was decided or happened."""

    Release = "release"
    """`integrate` made a release; data: images, height, subject, evidence."""
    Refused = "refused"
    """`integrate` refused a revision; data: evidence."""
    Promotion = "promotion"
    """A release was written into a stage's folder; data: commit, from."""
    Shift = "shift"
    """The canary got a weight; data: weight."""
    Sync = "sync"
    """Desired state was applied and is healthy and verified; data: commit (rendered), changed, seconds."""
    Verdict = "verdict"
    """A gate answered for good; data: the whole verdict."""
    Hold = "hold"
    """A release may not go on here by itself; data: reason, until."""
    Approval = "approval"
    """A person said yes; data: reason."""
    Rollback = "rollback"
    """The last good tree was restored; data: from, to, reverts, reason."""


@dataclass(frozen=True, slots=True)
class Record:
    """One decision."""

    kind: Kind
    app: str
    at: datetime
    message: str
    """The sentence users read."""
    stage: str = ""
    release: str = ""
    by: str = "tidegate"
    flow_run: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces to choose, one trailing newline."""
        body = {
            "kind": self.kind.value,
            "app": self.app,
            "stage": self.stage,
            "release": self.release,
            "at": self.at.astimezone(UTC).isoformat(),
            "by": self.by,
            "flow_run": self.flow_run,
            "message": self.message,
            "data": self.data,
        }
        return (
            json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """The record written by `to_json`; `ValueError` or `KeyError` when it is not one."""
        body = json.loads(text)
        return cls(
            kind=Kind(body["kind"]),
            app=body["app"],
            stage=body["stage"],
            release=body["release"],
            at=datetime.fromisoformat(body["at"]),
            by=body["by"],
            flow_run=body.get("flow_run", ""),
            message=body["message"],
            data=body["data"],
        )

    @property
    def path(self) -> str:
        """Its file on the ledger branch: `<app>/<stage or _>/<time>-<kind>-<digest>.json`, sorted by time."""
        stamp = self.at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        digest = hashlib.sha256(self.to_json()).hexdigest()[:8]
        return f"{self.app}/{self.stage or '_'}/{stamp}-{self.kind.value}-{digest}.json"
