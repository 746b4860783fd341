"""Look: read Git, cluster, ledger and metrics into one `StageView`. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidegate.adapters.ledger import BRANCH as LEDGER
from tidegate.domain.gate import Outcome, Verdict
from tidegate.domain.health import Health
from tidegate.domain.manifests import Manifest, files, images, parse, ref
from tidegate.domain.moves import Hold, Reason
from tidegate.domain.options import split
from tidegate.domain.promotion import Good, Held, Intent, StageView, soak_ends
from tidegate.domain.records import Kind, Record
from tidegate.domain.release import Evidence, Image, Release
from tidegate.domain.rollout import (
    TRACK,
    WHOLE,
    Canary,
    changed_deployments,
    leftovers,
    read_canary,
    stable_replicas,
)
from tidegate.domain.tracking import tracked_by
from tidegate.errors import Rejected, SpecError, TidegateError, Unreachable
from tidegate.operations import judge
from tidegate.operations.desk import Desk, digest_key
from tidegate.operations.rendering import render
from tidegate.spec import Stage

RELEASE_FILE = "release.json"


@dataclass(frozen=True, slots=True)
class Seen:
    """What Git said: heads, records, and both trees as manifests."""

    head: str | None
    records: tuple[Record, ...]
    intent: Intent | None
    head_manifests: tuple[Manifest, ...]
    intent_manifests: tuple[Manifest, ...]
    good_manifests: tuple[Manifest, ...]
    head_differs: bool
    rewritten: bool
    good: Good | None
    problem: str
    """Why the head cannot be rendered; empty when it can."""
    offline: bool
    """Whether the remote did not answer, and this is what the mirror last saw."""


Away = Mapping[str, TidegateError]
"""Config repositories that did not give what was asked for, and what they said instead."""


def refresh(desks: Iterable[Desk]) -> Away:
    """Bring what these desks read from Git up to date, in one exchange per config repository."""
    groups: dict[str, list[Desk]] = {}
    for desk in desks:
        groups.setdefault(desk.application.config.git, []).append(desk)
    away: dict[str, TidegateError] = {}
    for url, group in groups.items():
        branches = [b for d in group for b in (d.application.config.branch, d.rendered_branch)]
        try:
            group[0].config.push_pending()
            group[0].config.fetch(*dict.fromkeys(branches), LEDGER)
        except TidegateError as error:
            away[url] = error
    return away


def look_together(desks: Sequence[Desk], now: datetime) -> list[StageView]:
    """One look at several desks, with one question to each config repository."""
    away = refresh(desks)
    return [look(desk, now, away) for desk in desks]


def look(desk: Desk, now: datetime, away: Away | None = None) -> StageView:
    """Everything `next_move` may know about this stage at `now`; `OutsideError` when somebody does not answer.

    away: what `refresh` said, when several desks are looked at together.
    """
    seen = read_git(desk, away)
    releases = releases_of(seen.records)
    stage_records = [r for r in seen.records if r.stage == desk.stage.name]
    held = open_holds(stage_records)
    promoted = promoted_release(seen.head_manifests, releases.values())
    if seen.problem and seen.intent:
        promoted = releases.get(seen.intent.release)
    candidate, waiting = candidate_of(desk, seen.records, releases, now, promoted)
    calls_for_canary = bool(changed_deployments(seen.good_manifests, seen.intent_manifests))
    synced = bool(seen.intent and seen.good and seen.intent.commit == seen.good.commit)
    found = [] if synced else canaries(desk)
    canary = read_canary(found)
    trying = canary if canary and seen.intent and canary.commit == seen.intent.commit else None
    trial = trial_of(stage_records, seen.intent) if seen.intent and not seen.good else None
    return StageView(
        app=desk.app,
        stage=desk.stage,
        now=now,
        candidate=candidate,
        waiting=waiting,
        promoted=promoted,
        head=seen.head or "",
        head_differs=seen.head_differs,
        rewritten=seen.rewritten,
        intent=seen.intent,
        good=seen.good,
        held=held,
        newest_held=max((releases[h.release].order for h in held if h.release in releases), default=None),
        approvals=approvals(stage_records),
        canary=canary,
        canary_health=_health(desk, found) if trying else None,
        leftovers=_leftovers(desk, seen, now)
        if desk.stage.rollout and calls_for_canary and not canary
        else 0,
        calls_for_canary=calls_for_canary,
        trial=trial,
        verdict=_verdict(desk, trying, trial, found, now),
        passed=bool(seen.intent and gate_passed(stage_records, seen.intent.commit)),
        drift=_drift(desk, seen) if synced else (),
        problem=seen.problem,
        offline=seen.offline,
    )


def read_git(desk: Desk, away: Away | None = None) -> Seen:
    """Bring the three branches up to date in one go and read heads, records and trees.

    While the remote is away, what the mirror last saw is the answer, and says so; `Unreachable` without a mirror.
    """
    config = desk.config
    silence = (refresh([desk]) if away is None else away).get(desk.application.config.git)
    if silence and not (isinstance(silence, Unreachable) and config.tip(desk.rendered_branch)):
        raise silence
    head = config.tip(desk.application.config.branch)
    records = desk.ledger.records(app=desk.app, refresh=False)
    tip = config.tip(desk.rendered_branch)
    intent = read_intent(desk, tip) if tip else None
    good = last_good([r for r in records if r.stage == desk.stage.name])
    head_manifests, problem = _render_head(desk, head)
    return Seen(
        head=head,
        records=records,
        intent=intent,
        head_manifests=head_manifests,
        intent_manifests=tree(desk, intent.commit) if intent else (),
        good_manifests=tree(desk, good.commit) if good else (),
        head_differs=not problem and _differs(desk, intent, head_manifests),
        problem=problem,
        rewritten=bool(head and intent and not config.is_ancestor(intent.config_commit, head)),
        good=good,
        offline=silence is not None,
    )


def _render_head(desk: Desk, head: str | None) -> tuple[tuple[Manifest, ...], str]:
    """The head's manifests, or why there are none: a broken folder must not keep a bad canary alive.

    Broken is what cannot be read and what its own tool refuses; a tool that is missing is no fault of the folder.
    """
    try:
        return (render(desk, head) if head else ()), ""
    except (SpecError, Rejected) as error:
        return (), f"the head of the config repository cannot be rendered: {error}"


def _differs(desk: Desk, intent: Intent | None, manifests: Sequence[Manifest]) -> bool:
    return intent is None or _rendered_files(desk, manifests) != _intent_files(desk, intent.commit)


def _rendered_files(desk: Desk, manifests: Sequence[Manifest]) -> dict[str, bytes]:
    return files(manifests, key=digest_key(desk.settings))


def _intent_files(desk: Desk, commit: str) -> dict[str, bytes]:
    return {path: text for path, text in desk.config.tree(commit).items() if path != RELEASE_FILE}


def tree(desk: Desk, commit: str) -> tuple[Manifest, ...]:
    """The manifests of a commit of the rendered branch; Secrets are masked there."""
    return tuple(parse(_intent_files(desk, commit)))


def read_intent(desk: Desk, commit: str) -> Intent:
    """What the rendered branch says about itself at a commit."""
    data = json.loads(desk.config.read(commit, RELEASE_FILE))
    return Intent(commit, data["release"], data["config_commit"], restored="restored_from" in data)


def releases_of(records: Iterable[Record]) -> dict[str, Release]:
    """All releases the ledger knows, by id."""
    made = (release_from(r) for r in records if r.kind is Kind.Release)
    return {release.id: release for release in made}


def release_from(record: Record) -> Release:
    """The release a ledger record describes."""
    data = record.data
    return Release(
        app=record.app,
        revision=data["revision"],
        height=data["height"],
        images=tuple(Image(**image) for image in data["images"]),
        created=record.at,
        subject=data.get("subject", ""),
        evidence=tuple(Evidence(**e) for e in data.get("evidence", ())),
    )


def promoted_release(manifests: Sequence[Manifest], releases: Iterable[Release]) -> Release | None:
    """The newest release all of whose images stand in the manifests."""
    named = {image for m in manifests for image in images(m)}
    fits = [r for r in releases if r.images and {str(i) for i in r.images} <= named]
    return max(fits, key=lambda r: r.order, default=None)


def last_good(stage_records: Sequence[Record]) -> Good | None:
    """The newest state of the stage that was applied, healthy and verified."""
    found = [r for r in stage_records if r.kind is Kind.Sync]
    return (
        Good(commit=found[-1].data["commit"], release=found[-1].release, at=found[-1].at) if found else None
    )


def open_holds(stage_records: Sequence[Record]) -> tuple[Held, ...]:
    """Holds because something failed, which no approval has lifted since."""
    held: dict[str, Held] = {}
    for record in stage_records:
        key = record.data.get("key", "")
        if record.kind is Kind.Hold and record.data.get("reason") == Reason.Person:
            held[key] = Held(key, record.release, record.data.get("commit", ""), record.message)
        elif record.kind is Kind.Approval:
            held.pop(key, None)
    return tuple(held.values())


def approvals(stage_records: Sequence[Record]) -> dict[str, frozenset[str]]:
    """Who said yes to what since it was last held."""
    said: dict[str, frozenset[str]] = {}
    for record in stage_records:
        key = record.data.get("key", "")
        if record.kind is Kind.Approval:
            said[key] = said.get(key, frozenset()) | {record.by}
        elif record.kind is Kind.Hold and record.data.get("reason") == Reason.Person:
            said.pop(key, None)
    return said


def trial_of(stage_records: Iterable[Record], intent: Intent) -> Canary | None:
    """The trial of a first release, which began when it was up and verified; None before that."""
    for record in stage_records:
        if record.kind is Kind.Shift and record.data.get("commit") == intent.commit:
            started = datetime.fromisoformat(record.data["started"])
            return Canary(intent.release, intent.commit, WHOLE, started, started)
    return None


def gate_passed(stage_records: Iterable[Record], commit: str) -> bool:
    """Whether the gate's final yes for this intent is on record."""
    return any(
        r.kind is Kind.Verdict
        and r.data.get("commit") == commit
        and r.data.get("outcome") == Outcome.Successful
        for r in stage_records
    )


def candidate_of(
    desk: Desk,
    records: Sequence[Record],
    releases: Mapping[str, Release],
    now: datetime,
    promoted: Release | None = None,
) -> tuple[Release | None, Hold | None]:
    """The newest release the stages before let through, and the hold of a newer one that still soaks.

    A stage with `supersede: queue` takes them one by one instead: the oldest that is newer than `promoted`.
    """
    stage = desk.stage
    ready = dict.fromkeys(releases, now)
    for name, after in stage.after.items():
        shown = soaked(records, name)
        ready = {i: max(t, soak_ends(shown[i], after.soak)) for i, t in ready.items() if i in shown}
    newest = _next(stage, [releases[i] for i, t in ready.items() if t <= now], promoted)
    later = [
        releases[i] for i, t in ready.items() if t > now and (not newest or releases[i].order > newest.order)
    ]
    if not later:
        return newest, None
    next_one = max(later, key=lambda r: r.order)
    until = ready[next_one.id]
    message = f"{desk.app} {next_one.id} soaks in {', '.join(stage.after)} until {until:%H:%M:%S} UTC"
    return newest, Hold(message, Reason.Soak, until)


def _next(stage: Stage, ready: Sequence[Release], promoted: Release | None) -> Release | None:
    if stage.supersede == "queue" and promoted:
        newer = [r for r in ready if r.order > promoted.order]
        return min(newer, key=lambda r: r.order, default=promoted)
    return max(ready, key=lambda r: r.order, default=None)


def soaked(records: Iterable[Record], stage: str) -> dict[str, datetime]:
    """Releases whose newest stay in a stage still lasts, with its beginning.

    A release that was replaced there stops soaking: what nobody ran proves nothing.
    """
    since: dict[str, datetime] = {}
    for record in records:
        if record.stage == stage and record.kind is Kind.Sync:
            since = {record.release: since.get(record.release, record.at)}
    return since


def canaries(desk: Desk) -> list[Manifest]:
    """Live canary Deployments of this stage."""
    found = desk.target.list(
        "apps/v1", "Deployment", namespace=desk.target.namespace, labels={TRACK: "canary"}
    )
    return [m for m in found if tracked_by(m) == str(desk.owner)]


def _drift(desk: Desk, seen: Seen) -> tuple[str, ...]:
    kept, _ = split(list(seen.intent_manifests))
    return desk.target.look(desk.owner, kept).drift


def _leftovers(desk: Desk, seen: Seen, now: datetime) -> int:
    pods = desk.target.list("v1", "Pod", namespace=desk.target.namespace, labels={TRACK: "canary"})
    return leftovers(pods, seen.good_manifests, seen.intent_manifests, now)


def _health(desk: Desk, live: Sequence[Manifest]) -> Health:
    names = [ref(m) for m in live]
    return desk.target.wait(names, deadline_seconds=0, interrupted=lambda: None, custom=desk.custom)


def _verdict(
    desk: Desk, trying: Canary | None, trial: Canary | None, live: Sequence[Manifest], now: datetime
) -> Verdict | None:
    if trying and desk.stage.gate:
        pods = {str(m["metadata"]["name"]): stable_replicas(m) for m in live}
        return judge.judge(desk, desk.stage.gate, trying, now, pods)
    return judge.judge_trial(desk, trial, now) if trial else None
