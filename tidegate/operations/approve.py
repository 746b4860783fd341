"""Approve: a person's yes to what a stage holds for, on record with the name."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.domain.moves import Hold
from tidegate.domain.promotion import next_move
from tidegate.domain.records import Kind
from tidegate.errors import Refused
from tidegate.operations import record
from tidegate.operations.desk import Desk
from tidegate.operations.look import look, open_holds


def approve(desk: Desk, *, by: str, release: str = "", reason: str = "", flow_run: str = "") -> str:
    """Lift the stage's hold; returns the sentence that went on record.

    `release` (a prefix will do) guards against approving something newer than what the person looked at.
    `Refused` when nothing waits for a person, or something else does than the release named.
    """
    view = look(desk, datetime.now(UTC))
    move = next_move(view)
    waiting = {move.key: move.message} if isinstance(move, Hold) and move.key else {}
    records = desk.ledger.records(app=desk.app, stage=desk.stage.name, refresh=False)
    waiting |= {held.key: held.message for held in open_holds(records)}
    hits = {key: text for key, text in waiting.items() if key.partition(":")[2].startswith(release)}
    if not hits:
        asked = f"{release} " if release else ""
        raise Refused(
            f"{desk.app} {desk.stage.name}: nothing {asked}waits for approval; "
            f"`tidegate status {desk.app}` shows where it stands"
        )
    key, text = next(iter(hits.items()))
    because = f" ({reason})" if reason else ""
    message = f"{by} approved in {desk.stage.name}{because}: {text}"
    subject = key.partition(":")[2]
    made = record.new(
        desk, Kind.Approval, message, release=subject, by=by, flow_run=flow_run, key=key, reason=reason
    )
    desk.ledger.append(made)
    return message
