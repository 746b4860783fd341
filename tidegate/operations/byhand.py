"""By hand: promote, roll back and plan as a person asks for it; no Prefect, no remote, no metrics needed to undo."""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.domain.plan import Plan
from tidegate.domain.promotion import StageView
from tidegate.domain.release import Release
from tidegate.errors import Refused
from tidegate.operations import intent, restore, sync
from tidegate.operations import promote as promotion
from tidegate.operations.desk import Desk, Fence
from tidegate.operations.fence import holding
from tidegate.operations.look import look, read_git, releases_of, render


def plan(desk: Desk, now: datetime) -> Plan:
    """What applying the head of the config repository would change; writes nothing."""
    seen = read_git(desk)
    if seen.head is None:
        raise Refused(f"{desk.app}: branch {desk.application.config.branch} of the config repository is gone")
    return sync.plan(desk, render(desk, seen.head))


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


def restore_git(desk: Desk, to: str | None, reason: str, *, by: str, fence: Fence, flow_run: str = "") -> str:
    """Hold what is there and restore an earlier state in Git, also while the remote is away; says what was done."""
    seen = read_git(desk)
    if seen.intent is None:
        raise Refused(f"{desk.app}: nothing was ever live in {desk.stage.name}")
    unfinished = seen.good and seen.good.commit != seen.intent.commit
    target = seen.good if unfinished and seen.good and not to else restore.earlier(desk, to)
    if target.commit == seen.intent.commit:
        raise Refused(f"{desk.app} {target.release} is already what should be live in {desk.stage.name}")
    why = reason or f"rolled back by {by}"
    restore.restore(desk, seen.intent, target, why, fence=fence, by=by, flow_run=flow_run, offline=True)
    return f"{desk.app} {seen.intent.release} rolled back to {target.release} in {desk.stage.name}: {why}"


def rollback(desk: Desk, to: str | None, reason: str, *, by: str) -> str:
    """The whole rollback in this process: Git, then the cluster, then the record; returns the sentence."""
    with holding(desk, f"rollback by {by}") as fence:
        message = restore_git(desk, to, reason, by=by, fence=fence)
        view = _view(desk)
        started = datetime.now(UTC)
        manifests = sync.final_state(desk, view)
        made = sync.plan(desk, manifests)
        result = desk.target.apply(desk.owner, made, fence=fence)
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


__all__ = ["find_release", "intent", "plan", "promote", "restore_git", "rollback"]
