"""Record: write decisions to the ledger, each exactly once however often its move is made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.domain.records import Kind, Record
from tidegate.operations.desk import Desk


def new(
    desk: Desk,
    kind: Kind,
    message: str,
    /,
    *,
    release: str = "",
    by: str = "tidegate",
    flow_run: str = "",
    **data: Any,
) -> Record:
    """A record of this stage, dated now."""
    return Record(
        kind=kind,
        app=desk.app,
        stage=desk.stage.name,
        release=release,
        at=datetime.now(UTC),
        by=by,
        flow_run=flow_run,
        message=message,
        data=data,
    )


def append_missing(desk: Desk, records: Iterable[Record], *, offline: bool = False) -> tuple[Record, ...]:
    """Append those of the records that the ledger does not hold yet; says which were appended.

    Two records say the same when kind, stage, release and the identifying part of their data agree: a move that is
    made again after a crash adds nothing.
    """
    known = {_identity(r) for r in desk.ledger.records(app=desk.app, stage=desk.stage.name, refresh=False)}
    missing = tuple(r for r in records if _identity(r) not in known)
    if missing:
        desk.ledger.append(*missing, offline=offline)
    return missing


def append_question(desk: Desk, hold: Record) -> bool:
    """Put a hold that asks a person on record, unless the same one is open already; says whether it was."""
    known = desk.ledger.records(app=desk.app, stage=desk.stage.name, refresh=False)
    same = [r for r in known if r.data.get("key") == hold.data["key"]]
    if same and same[-1].kind is Kind.Hold:
        return False
    desk.ledger.append(hold)
    return True


def _identity(record: Record) -> tuple[str, ...]:
    return (record.kind, record.stage, record.release, _part(record.data))


def _part(data: Mapping[str, Any]) -> str:
    return "|".join(str(data.get(name, "")) for name in ("commit", "key", "weight"))
