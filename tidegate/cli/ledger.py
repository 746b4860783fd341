"""`history` and `verify-ledger`: what the ledger says happened, and whether it still follows from its evidence."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.common import APP, chosen, fleet_option, how, output_option, stage_names
from tidegate.cli.output import Cell, count, print_json, table

if TYPE_CHECKING:
    from tidegate.domain.records import Record

_COLOURS = {"sync": "green", "rollback": "red", "hold": "yellow", "refused": "red", "approval": "cyan"}


@click.command(
    epilog="""\b
Examples:
  tidegate history shop
  tidegate history shop production -n 20
  tidegate history shop --kind verdict -o json""",
)
@click.argument("app", type=APP)
@click.argument("stage", required=False)
@click.option("-n", "--last", type=click.IntRange(1), help="Only the newest of them.")
@click.option("--kind", "kinds", multiple=True, help="Only records of this kind; may be repeated.")
@fleet_option
@output_option
def history(
    app: str, stage: str | None, last: int | None, kinds: tuple[str, ...], fleet: str | None, output: str
) -> int:
    """List what was decided and done with an application, oldest first, from the ledger in Git."""
    from tidegate.domain.records import Kind
    from tidegate.errors import SpecError
    from tidegate.operations.history import history as read
    from tidegate.spec.places import likely

    for kind in kinds:
        if kind not in list(Kind):
            raise SpecError(f"no record of kind '{kind}'; {likely(kind, list(Kind), there='there is')}")
    application = chosen(fleet, app)[0]
    stage_names(application, stage)
    records = [r for r in read(application, how(fleet), stage) if not kinds or r.kind in kinds]
    records = records[-last:] if last else records
    if output == "json":
        print_json([_data(r) for r in records])
    elif not records:
        click.echo(f"{app}: nothing on record yet")
    else:
        headings = ("TIME", "STAGE", "KIND", "RELEASE", "BY", "WHAT")
        click.echo(table(headings, [_cells(r) for r in records]))
    return 0


def _data(record: Record) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(record.to_json())
    return found


def _cells(record: Record) -> list[Cell]:
    return [
        Cell(_time(record.at), dim=True),
        Cell(record.stage or "-"),
        Cell(str(record.kind), _colour(record)),
        Cell(record.release or "-"),
        Cell(record.by),
        Cell(record.message),
    ]


def _time(at: datetime) -> str:
    """Local time; the year only where it is not this one."""
    local, now = at.astimezone(), datetime.now().astimezone()
    return f"{local:%m-%d %H:%M:%S}" if local.year == now.year else f"{local:%Y-%m-%d %H:%M}"


def _colour(record: Record) -> str | None:
    if record.kind == "verdict":
        return {"Successful": "green", "Failed": "red"}.get(str(record.data.get("outcome")), "yellow")
    return _COLOURS.get(str(record.kind))


@click.command(
    "verify-ledger",
    epilog="""\b
Examples:
  tidegate verify-ledger                  all applications
  tidegate verify-ledger shop -o json""",
)
@click.argument("app", required=False, type=APP)
@fleet_option
@output_option
def verify_ledger(app: str | None, fleet: str | None, output: str) -> int:
    """Judge every recorded verdict again from its own samples and compare. Exits 1 when one does not follow."""
    from tidegate.operations.history import verify_ledger as again

    found = [(a.name, r) for a in chosen(fleet, app) for r in again(a, how(fleet))]
    wrong = [r for _, r in found if not r.agrees]
    if output == "json":
        print_json(
            [
                {"app": name, "record": r.record.path, "agrees": r.agrees, "message": r.message}
                for name, r in found
            ]
        )
        return 1 if wrong else 0
    rows = [
        [
            Cell(name),
            Cell(r.record.stage),
            Cell(r.record.release),
            Cell("agrees" if r.agrees else "differs", "green" if r.agrees else "red"),
            Cell(r.message),
        ]
        for name, r in found
    ]
    if rows:
        click.echo(table(("APP", "STAGE", "RELEASE", "AGAIN", "VERDICT"), rows))
    verdict = (
        "all follow from their samples" if not wrong else f"{len(wrong)} do not follow from their samples"
    )
    click.echo(f"{count(len(found), 'verdict')}{': ' + verdict if found else ' on record'}")
    return 1 if wrong else 0
