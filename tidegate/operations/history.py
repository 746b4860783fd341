"""History: what the ledger says happened, and whether its verdicts still follow from their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH as LEDGER
from tidegate.adapters.ledger import Ledger
from tidegate.domain.gate.evidence import from_data, to_data
from tidegate.domain.gate.recomputation import recompute
from tidegate.domain.health.scripts import Scripts
from tidegate.domain.moves import Move
from tidegate.domain.promotion import StageView, next_move
from tidegate.domain.records import Kind, Record
from tidegate.operations.desk import open_desk
from tidegate.operations.look import look_together
from tidegate.settings import Settings
from tidegate.spec import Application


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Where a stage stands and what would happen next."""

    view: StageView
    move: Move


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One verdict of the ledger, judged again from its own record."""

    record: Record
    agrees: bool
    message: str


def open_ledger(application: Application, settings: Settings) -> Ledger:
    """The ledger of an application's config repository, freshly fetched."""
    mirror = Mirror(application.config.git, settings)
    ledger = Ledger(mirror)
    mirror.fetch(LEDGER)
    return ledger


def history(application: Application, settings: Settings, stage: str | None = None) -> Sequence[Record]:
    """All records of an application, oldest first."""
    return open_ledger(application, settings).records(app=application.name, stage=stage, refresh=False)


def status(application: Application, settings: Settings, scripts: Scripts | None = None) -> list[StageStatus]:
    """Every stage as it stands now; reads only."""
    now = datetime.now(UTC)
    desks = [open_desk(application, stage.name, settings, scripts) for stage in application.stages]
    return [StageStatus(view, next_move(view)) for view in look_together(desks, now)]


def verify_ledger(application: Application, settings: Settings) -> list[Recomputed]:
    """Judge every recorded verdict again from its samples and compare, byte for byte."""
    records = history(application, settings)
    return [_again(record) for record in records if record.kind is Kind.Verdict]


def _again(record: Record) -> Recomputed:
    written = to_data(from_data(dict(record.data)))
    said = to_data(recompute(dict(record.data)))
    if said == written:
        return Recomputed(record, True, str(said["message"]))
    return Recomputed(record, False, f"recorded {written['message']!r}, recomputed {said['message']!r}")
