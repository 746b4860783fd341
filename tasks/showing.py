"""Show: artifacts and events for people. Views only: the record is the ledger."""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect.artifacts import acreate_image_artifact, acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext

from tasks._thread import in_thread
from tidegate.domain.gate import Verdict
from tidegate.domain.plan import Plan
from tidegate.domain.promotion import Hold, Move, Settled, StageView
from tidegate.domain.release import Release

log = logging.getLogger(__name__)
LIMIT = 90_000
"""Characters of an artifact: more is stored twice and slows the server."""


def _key(*parts: str) -> str:
    return "-".join(parts).lower().replace("_", "-").replace(".", "-")


def _in_a_run() -> bool:
    return bool(FlowRunContext.get() or TaskRunContext.get())


async def _markdown(key: str, text: str, description: str) -> None:
    if _in_a_run():
        await acreate_markdown_artifact(markdown=text[:LIMIT], key=key, description=description)


async def plan(app: str, stage: str, plan: Plan) -> None:
    """The plan as a diff."""
    text = f"### {app} → {stage}: {plan.summary()}\n\n```diff\n{plan.text()[: LIMIT - 500]}\n```\n"
    await _markdown(_key("plan", app, stage), text, f"what applying to {stage} changes")


async def verdict(app: str, stage: str, view: StageView) -> None:
    """The verdict of a running or finished canary: numbers, limits, sentence, and both arms over time."""
    if view.verdict is None or view.canary is None or not _in_a_run():
        return
    await _markdown(_key("verdict", app, stage), verdict_text(app, stage, view), view.verdict.message)
    if view.verdict.outcome.value != "Running":
        await picture(app, stage, view.verdict)


async def picture(app: str, stage: str, judged: Verdict) -> None:
    """Both arms over time, as an image inside the artifact."""
    from tidegate.adapters.picture import verdict_chart

    png = await in_thread(verdict_chart, judged)
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    await acreate_image_artifact(image_url=url, key=_key("chart", app, stage), description=judged.message)


def verdict_text(app: str, stage: str, view: StageView) -> str:
    """Markdown: the sentence, then a row per check."""
    judged, canary = view.verdict, view.canary
    assert judged and canary
    head = f"## {judged.outcome.value}: {judged.message}\n\n{app} {canary.release} in {stage}, "
    head += f"canary at {canary.weight} % since {canary.started:%H:%M:%S} UTC\n\n"
    rows = ["| check | answer | canary | stable | why |", "|---|---|---|---|---|"]
    for part in judged.parts or (judged,):
        rows.append(
            f"| {part.check} | {part.outcome.value} | {_arm(part, 0)} | {_arm(part, 1)} | {part.message} |"
        )
    return head + "\n".join(rows) + "\n"


def _arm(part: Verdict, arm: int) -> str:
    pairs = [(s.canary, s.control)[arm] for s in part.samples if s.gap is None]
    known = [p for p in pairs if p is not None]
    if not known:
        return "–"
    if part.parameters.get("kind") == "threshold":
        return f"{known[-1][0]:.4g} (limit {known[-1][1]:.4g})" if arm == 0 else "–"
    bad, total = sum(p[0] for p in known), sum(p[1] for p in known)
    return f"{bad:.0f} of {total:.0f} ({100 * bad / total:.2f} %)" if total else "no traffic"


async def release(
    app: str, made: Release | None, moves: Mapping[str, Move], views: Mapping[str, StageView]
) -> None:
    """The newest release and where everything stands."""
    title = f"## {app} {made.id}\n\n{made.subject}\n\n" if made else f"## {app}\n\n"
    images = "".join(f"- `{image}`\n" for image in (made.images if made else ()))
    rows = ["| stage | live | next |", "|---|---|---|"]
    for stage, move in moves.items():
        good = views[stage].good if stage in views else None
        rows.append(f"| {stage} | {good.release if good else '–'} | {_next(move)} |")
    await _markdown(
        _key("release", app), title + images + "\n" + "\n".join(rows) + "\n", f"where {app} stands"
    )


def _next(move: Move) -> str:
    return "–" if isinstance(move, Settled) else move.message


async def question(app: str, stage: str, hold: Hold) -> None:
    """What a person is asked, and how to answer."""
    how = f"`tidegate approve {app} {stage}`, or run the `approve` deployment"
    await _markdown(
        _key("hold", app, stage), f"## {hold.message}\n\n{how}\n", f"{app} {stage} waits for a person"
    )


async def evidence(app: str, revision: str, rows: Sequence[tuple[str, bool, str]]) -> None:
    """What audit, tests and build said about a revision."""
    lines = ["| step | answer | |", "|---|---|---|"]
    lines += [f"| {step} | {'passed' if passed else '**failed**'} | {text} |" for step, passed, text in rows]
    await _markdown(
        _key("evidence", app), f"## {app} {revision[:7]}\n\n" + "\n".join(lines), "audit, tests, build"
    )


async def event(name: str, app: str, stage: str, **payload: Any) -> None:
    """Emit `tidegate.<name>`; a lost one costs nothing, the next look sees the same."""
    resource = {
        "prefect.resource.id": f"tidegate.stage.{app}.{stage}",
        "prefect.resource.name": f"{app} {stage}",
    }
    await post_event(f"tidegate.{name}", resource, {"app": app, "stage": stage, **payload}, str(uuid.uuid4()))


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
