"""`status`: where every stage stands and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.common import APP, fleet_option, how, load, output_option
from tidegate.cli.output import Cell, ago, print_json, table

if TYPE_CHECKING:
    from tidegate.domain.health.scripts import Scripts
    from tidegate.operations.history import StageStatus
    from tidegate.settings import Settings
    from tidegate.spec import Application

_STATES = {
    # move -> (state, colour)
    "Settled": ("live", "green"),
    "Promote": ("ready", "cyan"),
    "Render": ("changed", "cyan"),
    "Deploy": ("deploying", "cyan"),
    "Shift": ("canary", "cyan"),
    "Finish": ("finishing", "cyan"),
    "RollBack": ("undoing", "red"),
}


@click.command(
    epilog="""\b
Examples:
  tidegate status                  every application of the fleet
  tidegate status shop
  tidegate status -o json | jq '.[] | select(.state == "held")'""",
)
@click.argument("app", required=False, type=APP)
@fleet_option
@output_option
def status(app: str | None, fleet: str | None, output: str) -> int:
    """Look at Git, ledger, cluster and metrics, and say where each stage stands and what comes next.

    Exits 3 when somebody did not answer; the other applications are shown all the same.
    """
    settings = how(fleet)
    found = load(fleet)
    asked = [found.application(app)] if app else found.applications
    rows = [row for application in asked for row in _rows(application, settings, found.health)]
    if output == "json":
        print_json(rows)
    else:
        click.echo(
            table(("APP", "STAGE", "LIVE", "SINCE", "STATE", "WHAT COMES NEXT"), [_cells(r) for r in rows])
        )
    return 3 if any(row["state"] == "unknown" for row in rows) else 0


def _rows(application: Application, settings: Settings, scripts: Scripts) -> Iterator[dict[str, Any]]:
    from tidegate.errors import TidegateError
    from tidegate.operations.history import status as look

    try:
        yield from map(_row, look(application, settings, scripts))
    except TidegateError as error:
        yield {"app": application.name, "stage": "", "live": "", "state": "unknown", "next": str(error)}


def _row(found: StageStatus) -> dict[str, Any]:
    view, move = found.view, found.move
    verdict = view.verdict
    return {
        "app": view.app,
        "stage": view.stage.name,
        "live": view.good.release if view.good else "",
        "since": view.good.at if view.good else None,
        "intended": view.intent.release if view.intent else "",
        "canary": {"release": view.canary.release, "weight": view.canary.weight} if view.canary else None,
        "verdict": {"outcome": str(verdict.outcome), "message": verdict.message} if verdict else None,
        "state": _state(found),
        "move": type(move).__name__,
        "next": move.message,
        "until": getattr(move, "until", None),
        "held": [{"release": h.release, "reason": h.message} for h in view.held],
    }


def _state(found: StageStatus) -> str:
    move = found.move
    if type(move).__name__ != "Hold":
        return _STATES[type(move).__name__][0]
    reason = str(getattr(move, "reason", ""))
    if found.view.canary:
        return "canary"
    return {"person": "held", "approval": "waits", "gate": "canary", "step": "canary"}.get(reason, "waits")


def _cells(row: dict[str, Any]) -> list[Cell]:
    state, since = row["state"], row.get("since")
    colours = {"held": "red", "unknown": "red", "undoing": "red", "live": "green", "waits": "yellow"}
    return [
        Cell(row["app"]),
        Cell(row["stage"] or "-"),
        Cell(row["live"] or "-"),
        Cell(ago(since, datetime.now(UTC)) if since else "-", dim=True),
        Cell(_with_weight(row), colours.get(state, "cyan")),
        Cell(row["next"] + _held(row)),
    ]


def _held(row: dict[str, Any]) -> str:
    """Releases that may not come back by themselves, where the next move does not speak of them."""
    names = [h["release"] for h in row.get("held", ()) if h["release"] and h["release"] not in row["next"]]
    return f"; held: {', '.join(names)}" if names else ""


def _with_weight(row: dict[str, Any]) -> str:
    canary = row.get("canary")
    return f"canary {canary['weight']}%" if canary and row["state"] == "canary" else str(row["state"])
