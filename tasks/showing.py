"""Show: artifacts and events for people. Views only: the record is the ledger."""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext

from tasks._artifact import LIMIT, add, keep, key_of, place, view_only
from tasks._thread import in_thread
from tidegate.domain.gate import Outcome, Sample, Verdict
from tidegate.domain.gate.limits import REFUTED
from tidegate.domain.gate.sentences import e_value, number
from tidegate.domain.moves import Hold, Move, Settled
from tidegate.domain.plan import Plan
from tidegate.domain.promotion import StageView
from tidegate.domain.release import Release

log = logging.getLogger(__name__)
logging.getLogger("prefect.task_runs").setLevel(
    logging.WARNING
)  # "Finished in state Completed()" after every task
DRAW_EVERY = 30.0
"""Seconds between two pictures of a canary that is still watched."""


# --- the plan ------------------------------------------------------------------------------------------------


async def plan(app: str, stage: str, plan: Plan) -> None:
    """The plan as a diff, on the task that made it."""
    diff = plan.text().removeprefix(plan.summary()).strip()[: LIMIT - 500]
    text = f"## {app} → {stage}: {_plain(plan.summary())}\n\n"
    text += f"```diff\n{diff}\n```\n" if diff else "The cluster is as Git says; nothing is written.\n"
    await add(key_of("plan", app, stage), text, plan.summary())


# --- the verdict ---------------------------------------------------------------------------------------------

_drawn: dict[tuple[str, str], tuple[float, str]] = {}
"""When the last picture of a stage's canary was drawn, and the picture: drawing takes longer than looking."""


async def verdict(app: str, stage: str, view: StageView) -> None:
    """The verdict of a running or finished canary: sentence, numbers, how sure, both arms over time."""
    if (
        view.verdict is None
        or not (view.canary or view.trial)
        or not (FlowRunContext.get() or TaskRunContext.get())
    ):
        return
    text = verdict_text(app, stage, view)
    picture = await _picture(app, stage, view.verdict)
    if picture and len(text) + len(picture) < LIMIT:
        text += f"\n![canary and stable over time]({picture})\n"
    description = f"{view.verdict.outcome.value}: {view.verdict.message}"
    await keep(key_of("verdict", app, stage), text, description)


async def _picture(app: str, stage: str, judged: Verdict) -> str:
    """Both arms over time as a `data:` address. Drawn now and then while it runs: the last one then comes at once.

    Neither UI lets scripts through, both let images in; an image artifact would print the address below the picture.
    """
    at, drawn = _drawn.get((app, stage), (-math.inf, ""))
    if judged.outcome is Outcome.Running and time.monotonic() - at < DRAW_EVERY:
        return drawn
    from tidegate.adapters.picture import verdict_chart

    try:
        png = await in_thread(verdict_chart, judged)
    except Exception as problem:  # no picture may stand between a bad canary and its rollback
        log.warning("%s %s: no picture of the verdict: %s", app, stage, problem)
        return ""
    picture = "data:image/png;base64," + base64.b64encode(png).decode()
    _drawn[app, stage] = (time.monotonic(), picture)
    return picture


_HEADLINES = {
    Outcome.Failed: "Stopped: {what} failed in {stage}",
    Outcome.Error: "Stopped: there is no evidence about {what} in {stage}",
    Outcome.Inconclusive: "Undecided: {what} in {stage}",
    Outcome.Successful: "Passed: {what} in {stage}",
    Outcome.Running: "Watching {what} in {stage}",
}


def verdict_text(app: str, stage: str, view: StageView) -> str:
    """Markdown: what was decided and why, a row per check, how sure it is, what follows."""
    judged, canary = view.verdict, view.canary or view.trial
    assert judged and canary
    parts = judged.parts or (judged,)
    head = _HEADLINES[judged.outcome].format(what=f"{app} {canary.release}", stage=stage)
    what = "On trial, as the first release here" if view.trial else f"Canary at {canary.weight} %"
    since = f"{what}, since {canary.started:%H:%M:%S} UTC."
    rows = "\n".join(map(_row, parts))
    sure = "\n".join(f"- {line}" for part in parts if (line := _how_sure(part)))
    return (
        f"## {head}\n\n**{_plain(judged.message)}**\n\n{since} {_what_follows(app, stage, view)}\n\n"
        f"| check | canary | stable | limit | answer |\n|---|---|---|---|---|\n{rows}\n"
        + (f"\n### How sure\n\n{sure}\n" if sure else "")
    )


def _row(part: Verdict) -> str:
    times = f"{number(part.ratio)} ×, " if part.ratio is not None else ""
    cells = (_plain(part.check), _arm(part, "canary"), _arm(part, "control"), _limit(part))
    return f"| {' | '.join(cells)} | {times}**{part.outcome.value}** |"


def _check(part: Verdict) -> Mapping[str, Any]:
    """The check as written."""
    written = part.parameters.get("check")
    return written if isinstance(written, Mapping) else {}


def _counted(part: Verdict) -> list[Sample]:
    """The intervals the answer rests on: evidence, and not later than the decision."""
    at = part.parameters.get("at")
    end = at if isinstance(at, float) else math.inf
    return [s for s in part.samples if s.gap is None and s.at <= end]


def _arm(part: Verdict, arm: str) -> str:
    pairs = [p for s in _counted(part) if (p := s.canary if arm == "canary" else s.control)]
    if not pairs:
        return "–"
    if _check(part).get("kind") == "threshold":
        return f"{pairs[-1][0]:.4g}" if arm == "canary" else "–"
    bad, total = (sum(column) for column in zip(*pairs, strict=True))
    return f"{bad:,.0f} of {total:,.0f} bad ({100 * bad / total:.3g} %)" if total else "no events"


def _limit(part: Verdict) -> str:
    check = _check(part)
    if check.get("kind") == "threshold":
        bounds = (("at least", check.get("min")), ("at most", check.get("max")))
        said = ", ".join(f"{word} {bound:.4g}" for word, bound in bounds if bound is not None) or "–"
        return f"{said}; {allowed} misses allowed" if (allowed := check.get("failures")) else said
    if "min_ratio" not in check:
        return "–"
    return f"fails ≥ {check['min_ratio']:g} ×, passes < {check['max_ratio']:g} ×"


def _how_sure(part: Verdict) -> str:
    """How far the numbers of a ratio check carry, and what of its time was no evidence."""
    said = []
    if part.ratio is not None and part.interval and part.log_e_fail is not None:
        low, high = part.interval
        between = f"{number(low)} and {'∞' if math.isinf(high) else number(high)}"
        said.append(f"surely between {between} times as bad as stable (95 %, however often one looks)")
        alpha = part.parameters.get("alpha")
        needed = f" ({1 / alpha:.3g} fails it)" if isinstance(alpha, float) else ""
        said.append(f"evidence that it is worse: e-value {e_value(part.log_e_fail)}{needed}")
        bound = f"{_check(part).get('max_ratio', 0):g} times as bad"
        said.append(f"that it is not {bound}: {e_value(part.log_e_pass or 0.0)} ({REFUTED:g} passes it)")
        said.append(f"φ {part.phi:.2g} ({part.parameters.get('dispersion', 'given')})")
    gaps = [s.gap for s in part.samples if s.gap]
    if gaps:
        said.append(f"{len(gaps)} of {len(part.samples)} intervals were no evidence: {gaps[-1]}")
    return f"**{_plain(part.check)}**: {_plain('; '.join(said))}" if said else ""


def _what_follows(app: str, stage: str, view: StageView) -> str:
    assert view.verdict
    hold = f"The release is held until a newer one comes or a person says `tidegate approve {app} {stage}`."
    match view.verdict.outcome:
        case Outcome.Failed | Outcome.Error if view.stage.on_failure == "rollback" and not view.trial:
            return f"The canary goes, the stable pods were not touched, Git gets the rollback. {hold}"
        case Outcome.Failed | Outcome.Error:
            return f"It stays as it is. {hold}"
        case Outcome.Inconclusive:
            policy = view.stage.gate.inconclusive if view.stage.gate else "hold"
            return f"Its time is over without an answer; the stage asks for `{policy}` then."
        case Outcome.Successful:
            return "The next step follows; it is watched on while it grows."
        case Outcome.Running:
            return "Nothing is decided yet."


# --- the release ---------------------------------------------------------------------------------------------


async def release(
    app: str, made: Release | None, moves: Mapping[str, Move], views: Mapping[str, StageView]
) -> None:
    """The newest release: where it is, why it was stopped, what comes next, what it is made of."""
    head = _headline(made, moves, views) if made else "no release yet"
    rows = "\n".join(_stage_row(app, made, stage, move, views.get(stage)) for stage, move in moves.items())
    there = f"{made.id} there" if made else "newest there"
    text = f"## {app} {made.id}: {_plain(made.subject)}\n\n" if made else f"## {app}\n\n"
    text += f"**{_plain(head)}**\n\n| stage | live now | {there} | next |\n|---|---|---|---|\n{rows}\n"
    await keep(key_of("release", app), text + (_contents(made) if made else ""), head, on_top=True)


def _headline(made: Release, moves: Mapping[str, Move], views: Mapping[str, StageView]) -> str:
    live = [stage for stage, view in views.items() if view.good and view.good.release == made.id]
    stopped = {stage: why for stage, view in views.items() if (why := _why_stopped(made, view))}
    said = [f"is live in {' and '.join(live)}"] if live else []
    said += [f"is stopped in {stage}: {why}" for stage, why in stopped.items()]
    holds = [m.message for stage, m in moves.items() if isinstance(m, Hold) and stage not in stopped]
    said += [message.removeprefix(f"{made.app} {made.id} ") for message in holds]
    return f"{made.id} {', '.join(said)}" if said else f"{made.id} is not live anywhere yet"


def _why_stopped(made: Release | None, view: StageView) -> str:
    hold = next((h.message for h in view.held if made and h.release == made.id), "")
    return hold.removeprefix(f"{view.app} {made.id} is held in {view.stage.name}: ") if made else ""


def _stage_row(app: str, made: Release | None, stage: str, move: Move, view: StageView | None) -> str:
    good = view.good if view else None
    live = good.release if good else "nothing"
    there = _standing(made, view) if view else "–"
    following = "nothing to do" if isinstance(move, Settled) else move.message
    if view and _why_stopped(made, view):
        there = f"{there} ([verdict]({place(key_of('verdict', app, stage))}))"
        following = f"a newer release, or `tidegate approve {app} {stage}`"
    return f"| {stage} | {live} | {there} | {following if '`' in following else _plain(following)} |"


def _standing(made: Release | None, view: StageView) -> str:
    """How far the newest release is in a stage."""
    why = _why_stopped(made, view)
    if why:
        return f"**stopped**: {_plain(why)}"
    if made is None:
        return "–"
    if view.good and view.good.release == made.id:
        return "**live**"
    if view.canary and view.canary.release == made.id:
        return f"canary at {view.canary.weight} %"
    return "on its way" if view.promoted and view.promoted.id == made.id else "not yet"


def _contents(made: Release) -> str:
    built = f"Commit `{made.revision}`, built {made.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    images = "\n".join(map(str, made.images))
    evidence = _evidence_table([(e.step, e.passed, e.message) for e in made.evidence])
    text = f"\n### What it is\n\n{built}\n\n```\n{images}\n```\n"
    return f"{text}\n### Evidence\n\n{evidence}" if made.evidence else text


async def evidence(app: str, revision: str, rows: Sequence[tuple[str, bool, str]]) -> None:
    """What audit, tests and build said about a revision."""
    failed = [step for step, passed, _ in rows if not passed]
    head = f"refused: {', '.join(failed)}" if failed else f"passed: {', '.join(step for step, _, _ in rows)}"
    text = f"## {app} {revision[:7]} {_plain(head)}\n\n{_evidence_table(rows)}"
    await keep(key_of("evidence", app), text, f"{revision[:7]} {head}", on_top=True)


def _evidence_table(rows: Sequence[tuple[str, bool, str]]) -> str:
    lines = ["| step | answer | what it said |", "|---|---|---|"]
    for step, passed, said in rows:
        lines.append(f"| {_plain(step)} | {'passed' if passed else '**failed**'} | {_plain(said)} |")
    return "\n".join(lines) + "\n"


# --- people --------------------------------------------------------------------------------------------------


async def question(app: str, stage: str, hold: Hold) -> None:
    """What a person is asked, and how to answer: a command, or a form that is filled in already."""
    text = f"## {_plain(hold.message)}\n\nYes: `tidegate approve {app} {stage}`"
    async with view_only("the form of `approve`") as client:
        form = (await client.read_deployment_by_name("approve/approve")).id
        filled = quote(json.dumps({"app": app, "stage": stage}, separators=(",", ":")))
        text += f", or [this form](../../deployments/deployment/{form}/run?parameters={filled})"
    await keep(key_of("hold", app, stage), text + ".\n", hold.message, on_top=True)


def _plain(text: str) -> str:
    """Words of others as words: no markup of theirs, on one line, fit for a table's cell."""
    return re.sub(r"([\\*_\[\]<>|~#!])", r"\\\1", " ".join(text.replace("`", "").split()))


# --- events --------------------------------------------------------------------------------------------------


async def event(name: str, app: str, stage: str, **payload: Any) -> None:
    """Emit `tidegate.<name>`; a lost one costs nothing, the next look sees the same."""
    resource = {
        "prefect.resource.id": f"tidegate.stage.{app}.{stage}",
        "prefect.resource.name": f"{app} {stage}",
    }
    try:
        await post_event(
            f"tidegate.{name}", resource, {"app": app, "stage": stage, **payload}, str(uuid.uuid4())
        )
    except httpx.HTTPError as problem:
        log.warning("%s %s: event %s was not accepted: %s", app, stage, name, problem)


async def post_event(
    name: str, resource: Mapping[str, str], payload: Mapping[str, Any], event_id: str
) -> None:
    """Give one event to the server and wait until it has it; the same id again starts nothing."""
    body = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": dict(resource),
        "payload": dict(payload),
        "id": event_id,
    }
    async with get_client() as client:
        answer = await client._client.post("/events", json=[body])
        answer.raise_for_status()
