"""By hand: promote, roll back and plan as a person asks for it; no Prefect, no remote, no metrics needed to undo."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from tidegate.domain.plan import Plan
from tidegate.domain.promotion import Good, Intent, StageView
from tidegate.domain.release import Release
from tidegate.errors import Conflict, Refused
from tidegate.operations import promote as promotion
from tidegate.operations import record, restore, sync
from tidegate.operations.desk import Desk, Fence
from tidegate.operations.fence import holding
from tidegate.operations.look import look, read_git, releases_of
from tidegate.operations.rendering import render


def plan(desk: Desk, now: datetime) -> Plan:
    """What applying the head of the config repository would change; writes nothing."""
    seen = read_git(desk)
    if seen.head is None:
        raise Refused(f"{desk.app}: branch {desk.application.config.branch} of the config repository is gone")
    return sync.preview(desk, seen.head, render(desk, seen.head))


def find_release(desk: Desk, release: str) -> Release:
    """The release an id, or its beginning, names. `Refused` when it is none or several."""
    records = desk.ledger.records(app=desk.app, refresh=False)
    hits = {i: r for i, r in releases_of(records).items() if i.startswith(release)}
    if len(hits) != 1:
        there = ", ".join(sorted(hits)) or "none"
        raise Refused(
            f"{desk.app}: {there} of the releases begins with {release!r}; `tidegate history {desk.app}` shows them"
        )
    return next(iter(hits.values()))


def promote(desk: Desk, release: str, *, fence: Fence, flow_run: str = "") -> str:
    """Commit a release into the stage's folder, whatever soak and window say. `Refused` when it is held there."""
    view = look(desk, datetime.now(UTC))
    found = find_release(desk, release)
    held = next((h for h in view.held if h.release == found.id), None)
    if held:
        raise Refused(
            f"{found.id} is held in {desk.stage.name}: {held.message}; "
            f"`tidegate approve {desk.app} {desk.stage.name} --release {found.id}` lifts it"
        )
    return promotion.promote(desk, found, view, fence=fence, flow_run=flow_run)


@dataclass(frozen=True, slots=True)
class Undoing:
    """What a rollback by hand leaves and where it goes."""

    intent: Intent
    target: Good
    why: str
    is_unfinished: bool
    """Whether the intent is still on its way: a run may be busy with it."""


def _undoing(desk: Desk, to: str | None, reason: str, by: str) -> Undoing:
    seen = read_git(desk)
    if seen.intent is None:
        raise Refused(f"{desk.app}: nothing was ever live in {desk.stage.name}")
    is_unfinished = bool(seen.good and seen.good.commit != seen.intent.commit)
    target = seen.good if is_unfinished and seen.good and not to else restore.earlier(desk, to)
    if target.commit == seen.intent.commit:
        raise Refused(f"{desk.app} {target.release} is already what should be live in {desk.stage.name}")
    return Undoing(seen.intent, target, reason or f"rolled back by {by}", is_unfinished)


def restore_git(desk: Desk, to: str | None, reason: str, *, by: str, fence: Fence, flow_run: str = "") -> str:
    """Hold what is there and restore an earlier state in Git, also while the remote is away; says what was done."""
    it = _undoing(desk, to, reason, by)
    restore.restore(desk, it.intent, it.target, it.why, fence=fence, by=by, flow_run=flow_run, offline=True)
    return f"{desk.app} {it.intent.release} rolled back to {it.target.release} in {desk.stage.name}: {it.why}"


def hold_for_the_run(desk: Desk, to: str | None, reason: str, *, by: str, flow_run: str = "") -> str:
    """Hold what another run is busy with; that run sees it at its next look and undoes it. `Refused` otherwise."""
    it = _undoing(desk, to, reason, by)
    if to or not it.is_unfinished:
        raise Refused(
            f"{desk.app} {desk.stage.name} is being worked on by another run; try again when it has ended"
        )
    records = restore.decision(desk, it.intent, it.target, it.why, None, flow_run=flow_run, by=by)
    record.append_missing(desk, records, offline=True)
    return f"{desk.app} {it.intent.release} is held in {desk.stage.name}; the run that deploys it undoes it: {it.why}"


def rollback(desk: Desk, to: str | None, reason: str, *, by: str) -> str:
    """The whole rollback in this process: Git, then the cluster, then the record; returns the sentence.

    While a run deploys, its release is held and that run undoes it.
    """
    try:
        return _rollback(desk, to, reason, by)
    except Conflict:
        return hold_for_the_run(desk, to, reason, by=by)


def _rollback(desk: Desk, to: str | None, reason: str, by: str) -> str:
    with holding(desk, f"rollback by {by} {secrets.token_hex(4)}") as fence:
        message = restore_git(desk, to, reason, by=by, fence=fence)
        view = _view(desk)
        started = datetime.now(UTC)
        manifests = sync.final_state(desk, view)
        made = sync.plan(desk, manifests, sync.hooks(desk, view))
        result = sync.apply(desk, made, fence)
        if result.failure or result.problems:
            raise Refused(f"{message}, but: {'; '.join((*result.problems, result.failure)).strip('; ')}")
        health = sync.wait(desk, manifests, lambda: None)
        if health.status.value != "Healthy":
            raise Refused(f"{message}, but it is {health.status.value}: {health.message}")
        sync.record_sync(desk, view, len(result.applied) + len(result.pruned), started)
    return message


def _view(desk: Desk) -> StageView:
    seen = read_git(desk)
    return StageView(
        app=desk.app, stage=desk.stage, now=datetime.now(UTC), intent=seen.intent, good=seen.good
    )
