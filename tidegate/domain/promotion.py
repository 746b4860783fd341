"""What comes next for one stage: a pure answer from what Git, the cluster and the metrics say right now.

`deliver` looks (`StageView`), asks `next_move`, makes that one move and looks again. Nothing is remembered between
looks, so a process that dies between two of them costs nothing. The order of the questions is the policy:

    1. what failed is undone first          5. unfinished work goes on: canary, step, finish, plain deploy
    2. rewritten history stops everything   6. what is live and differs from the intent is put right
    3. a newer release supersedes           7. whoever waits says for what, and until when
    4. a new commit becomes the intent      8. settled
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidegate.domain.gate import Outcome, Verdict
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.moves import (
    Clear,
    Deploy,
    Finish,
    Hold,
    Move,
    Promote,
    Reason,
    Render,
    RollBack,
    Settled,
    Shift,
)
from tidegate.domain.release import Release
from tidegate.domain.rollout import Canary
from tidegate.domain.windows import is_open, next_opening
from tidegate.spec import Stage, Threshold

_TOLD = 3
"""Objects that a sentence about drift names."""


@dataclass(frozen=True, slots=True)
class Intent:
    """Tip of the rendered branch: what should be live."""

    commit: str
    release: str
    config_commit: str
    restored: bool = False
    """Whether it brings back an earlier state: that is applied at once, no canary asks whether it may."""


@dataclass(frozen=True, slots=True)
class Good:
    """The last state that was applied, healthy and verified."""

    commit: str
    release: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """An open hold from the ledger."""

    key: str
    release: str
    commit: str
    message: str


@dataclass(frozen=True, slots=True)
class StageView:
    """Everything `next_move` may know. Absent evidence is None, never a default that passes."""

    app: str
    stage: Stage
    now: datetime
    candidate: Release | None = None
    """Newest release that has shown what the stages before ask for."""
    waiting: Hold | None = None
    """Why a newer release is not a candidate yet."""
    promoted: Release | None = None
    """The release whose images the stage's folder names at the head of the config repository."""
    head: str = ""
    """Head of the config repository."""
    head_differs: bool = False
    """Whether rendering the head gives something else than the intent."""
    rewritten: bool = False
    """Whether the intent's config commit is no longer part of the config repository's history."""
    intent: Intent | None = None
    good: Good | None = None
    held: tuple[Held, ...] = ()
    newest_held: tuple[int, datetime] | None = None
    """`Release.order` of the newest release held here."""
    approvals: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Hold key -> who said yes."""
    canary: Canary | None = None
    canary_health: Health | None = None
    leftovers: int = 0
    """Pods of an earlier canary that still run or end; Prometheus would count them for the next one."""
    trial: Canary | None = None
    """A first release that is up and not yet judged, as a canary of 100 %."""
    calls_for_canary: bool = False
    """Whether the intent changes the pods of a Deployment that is live and good."""
    verdict: Verdict | None = None
    """Of the running canary or trial, recomputed now."""
    passed: bool = False
    """Whether the ledger holds the gate's final yes for this intent."""
    drift: tuple[str, ...] = ()
    """What is not as a synced intent says, a sentence per object: which fields, set by whom and when."""
    problem: str = ""
    """Why the head of the config repository cannot be rendered; empty when it can."""
    offline: bool = False
    """Whether the config repository did not answer and Git is as the worker's mirror last saw it."""


def next_move(view: StageView) -> Move:
    """The one next move; asking twice with the same view gives the same answer."""
    if view.offline:
        return _undo(view) or _restored(view) or _failing(view) or _wait_for_git(view)
    return (
        _undo(view)
        or _rewritten(view)
        or _supersede(view)
        or _adopt_head(view)
        or _go_on(view)
        or _put_right(view)
        or _wait(view)
        or Settled(f"{view.good.release if view.good else 'nothing'} is live, nothing to do")
    )


def _held(view: StageView, *, release: str = "", commit: str = "") -> Held | None:
    hits = (h for h in view.held if (release and h.release == release) or (commit and h.commit == commit))
    return next(hits, None)


def _undo(view: StageView) -> Move | None:
    intent, good = view.intent, view.good
    hold = _held(view, release=intent.release, commit=intent.commit) if intent else None
    if hold is None and view.promoted:
        hold = _held(view, release=view.promoted.id)
    if hold is None or intent is None:
        return None
    if good and good.release == hold.release and intent.commit != hold.commit:
        return None  # a release can be good, and a later change of its configuration held
    if view.stage.on_failure == "hold" or good is None:
        return _supersede(view) or _past(view) or Hold(hold.message, Reason.Person, key=hold.key)
    return RollBack(hold.message)


def _past(view: StageView) -> Move | None:
    """Leave a held intent behind for a head that names a release which is not held."""
    return None if view.promoted is None or _held(view, release=view.promoted.id) else _adopt_head(view)


def _rewritten(view: StageView) -> Move | None:
    key = f"rewritten:{view.head}"
    if not view.rewritten or view.approvals.get(key):
        return None
    intent = view.intent.config_commit[:7] if view.intent else ""
    return Hold(
        f"history of the config repository was rewritten: {intent} is no longer part of it; "
        f"compare it with {view.head[:7]}, then approve",
        Reason.Person,
        key=key,
    )


def _restored(view: StageView) -> Move | None:
    """What a rollback has made the intent may be applied without asking Git again."""
    if _synced(view) or view.intent is None or not view.intent.restored:
        return None
    return Deploy(f"{view.app} {view.intent.release} → {view.stage.name}")


def _failing(view: StageView) -> Move | None:
    """A running canary that fails is undone, whoever answers; nothing goes forward."""
    if view.intent is None or view.canary is None or view.canary.commit != view.intent.commit:
        return None
    move = _verdict(view)
    return move if isinstance(move, RollBack) else None


def _wait_for_git(view: StageView) -> Move:
    until = view.now + timedelta(seconds=15)
    return Hold(f"{view.stage.name} waits: the config repository does not answer", Reason.Gate, until)


def _newer(view: StageView) -> Release | None:
    """The candidate, if it is newer than what is promoted and than everything held here."""
    release = view.candidate
    if release is None or (view.promoted and release.order <= view.promoted.order):
        return None
    if view.newest_held and release.order <= view.newest_held:
        return None
    return release


def _admission(view: StageView, release: Release) -> Hold | None:
    """Why the release may not be promoted right now: the stage's window, people's approval."""
    stage, name = view.stage, f"{view.app} {release.id}"
    if not is_open(stage.windows, view.now):
        until = next_opening(stage.windows, view.now)
        return Hold(f"{name} waits for the next window of {stage.name}", Reason.Window, until)
    key = f"approval:{release.id}"
    need, have = stage.approval.need if stage.approval else 0, view.approvals.get(key, frozenset())
    if len(have) >= need:
        return None
    return Hold(f"{name} waits for approval in {stage.name}: {len(have)} of {need}", Reason.Approval, key=key)


def _supersede(view: StageView) -> Move | None:
    release = _newer(view)
    if release is None or view.problem or _admission(view, release):
        return None
    busy = view.intent and not _synced(view) and not _held(view, commit=view.intent.commit)
    if busy and view.stage.supersede != "supersede":
        return None
    before = f", instead of {view.promoted.id}" if view.promoted else ""
    return Promote(release, f"{view.app} {release.id} → {view.stage.name}{before}")


def _adopt_head(view: StageView) -> Move | None:
    if view.promoted is None or view.problem:
        return None
    if view.intent is None or view.head_differs:
        return Render(f"config {view.head[:7]} becomes the intent of {view.stage.name}")
    return None


def _synced(view: StageView) -> bool:
    return bool(view.intent and view.good and view.intent.commit == view.good.commit)


def _go_on(view: StageView) -> Move | None:
    if view.intent is None or _synced(view):
        return None
    if view.stage.rollout and view.good and view.calls_for_canary and not view.intent.restored:
        return _canary(view)
    if view.good is None and _has_thresholds(view.stage):
        return _trial(view, view.intent)
    return Deploy(f"{view.app} {view.intent.release} → {view.stage.name}")


def _has_thresholds(stage: Stage) -> bool:
    return any(isinstance(check, Threshold) for check in (stage.gate.checks if stage.gate else ()))


def _trial(view: StageView, intent: Intent) -> Move:
    """A first release has nothing to compare with: rolled out, then judged by its threshold checks alone."""
    assert view.stage.gate
    if view.passed:
        return Finish(f"the gate passed {intent.release}")
    if view.trial is None:
        return Deploy(f"{view.app} {intent.release} → {view.stage.name}, on trial", on_trial=True)
    if view.verdict and view.verdict.outcome is Outcome.Successful:
        return Finish(view.verdict.message, view.verdict)
    message = view.verdict.message if view.verdict else "no verdict yet"
    waits = Hold(f"{intent.release} is on trial: {message}", Reason.Gate, view.now + view.stage.gate.every)
    return _verdict(view) or waits


def _canary(view: StageView) -> Move:
    assert view.stage.rollout and view.intent
    weights = view.stage.rollout.weights
    if view.passed:
        return Finish(f"the gate passed {view.intent.release}")
    if view.canary is None or view.canary.commit != view.intent.commit:
        return _fresh(view, view.intent, weights[0])
    return _verdict(view) or _step(view, view.canary)


def _fresh(view: StageView, intent: Intent, weight: int) -> Move:
    if view.canary:
        return Clear(f"the canary of {view.canary.release} goes, so that {intent.release} is judged alone")
    if view.leftovers:
        until = view.now + timedelta(seconds=1)
        return Hold(f"{view.leftovers} pods of an earlier canary are still ending", Reason.Step, until)
    return Shift(weight, f"canary of {intent.release} at {weight} %", fresh=True)


def _verdict(view: StageView) -> Move | None:
    """What health and the gate's final answers ask for; None while they leave it open."""
    if view.canary_health and view.canary_health.status is HealthStatus.Degraded:
        return _stop(view, f"canary is degraded: {view.canary_health.message}")
    verdict = view.verdict
    match verdict.outcome if verdict else None:
        case Outcome.Failed:
            return _stop(view, verdict.message if verdict else "")
        case Outcome.Error:
            return _stop(view, f"no evidence: {verdict.message if verdict else ''}")
        case Outcome.Inconclusive:
            return _inconclusive(view)
        case Outcome.Successful | Outcome.Running | None:
            return None


def _stop(view: StageView, message: str) -> Move:
    key = f"failed:{view.intent.release if view.intent else ''}"
    if view.approvals.get(key):
        return Finish(f"a person said yes, although {message}", view.verdict)
    if view.stage.on_failure == "hold":
        return Hold(message, Reason.Person, key=key)
    return RollBack(message, view.verdict)


def _inconclusive(view: StageView) -> Move:
    assert view.stage.gate and view.verdict and view.intent
    key = f"inconclusive:{view.intent.commit}"
    if view.stage.gate.inconclusive == "promote" or view.approvals.get(key):
        return Finish(view.verdict.message, view.verdict)
    if view.stage.gate.inconclusive == "rollback":
        return RollBack(view.verdict.message, view.verdict)
    return Hold(view.verdict.message, Reason.Person, key=key)


def _step(view: StageView, canary: Canary) -> Move:
    """Go to the next weight when this one was held long enough and the last look was evidence."""
    assert view.stage.rollout and view.stage.gate
    weights, every = view.stage.rollout.weights, view.stage.rollout.every
    if canary.weight not in weights:
        return Shift(weights[0], f"canary at {weights[0]} %, as the spec says now")
    due = canary.step_started + every
    if view.now < due:
        return Hold(f"canary at {canary.weight} % until {due:%H:%M:%S}", Reason.Step, due)
    later = weights[weights.index(canary.weight) + 1 :]
    if later and _complete(view.verdict):
        return Shift(later[0], f"canary at {later[0]} %: {view.verdict.message if view.verdict else ''}")
    if not later and view.verdict and view.verdict.outcome is Outcome.Successful:
        return Finish(view.verdict.message, view.verdict)
    message = view.verdict.message if view.verdict else "no verdict yet"
    return Hold(f"canary at {canary.weight} %: {message}", Reason.Gate, view.now + view.stage.gate.every)


def _complete(verdict: Verdict | None) -> bool:
    """Whether every check has evidence for its newest interval."""
    parts = verdict.parts or (verdict,) if verdict else ()
    return bool(parts) and all(p.samples and p.samples[-1].gap is None for p in parts)


def _put_right(view: StageView) -> Move | None:
    if not (_synced(view) and view.drift):
        return None
    many = "object differs" if len(view.drift) == 1 else "objects differ"
    more = f" and {len(view.drift) - _TOLD} more" if len(view.drift) > _TOLD else ""
    told = "; ".join(view.drift[:_TOLD]) + more
    return Deploy(f"{len(view.drift)} {many} from the intent of {view.stage.name}: {told}")


def _wait(view: StageView) -> Move | None:
    if view.problem:
        return Hold(view.problem, Reason.Commit)
    release = _newer(view)
    if release:
        return _admission(view, release)
    if view.waiting:
        return view.waiting
    if view.promoted is None:
        return Hold(f"{view.stage.name} waits for its first release", Reason.Release)
    return None


def soak_ends(live_since: datetime, soak: timedelta) -> datetime:
    """When a release that is live and good in the stage before may go on."""
    return live_since + soak
