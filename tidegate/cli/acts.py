"""`promote`, `approve`, `rollback`: the same moves the flows make, by hand and on record with a name."""

from __future__ import annotations

import click

from tidegate.cli.common import APP, STAGE, desk, fleet_option, output_option, person
from tidegate.cli.output import paint, print_json

_by = click.option("--by", metavar="NAME", help="Who says so, for the record.  [default: your login]")
_reason = click.option("-m", "--reason", default="", help="Why, for the record.")


@click.command(
    epilog="""\b
Examples:
  tidegate promote shop production 3f2a91c""",
)
@click.argument("app", type=APP)
@click.argument("stage", type=STAGE)
@click.argument("release")
@_by
@fleet_option
@output_option
def promote(app: str, stage: str, release: str, by: str | None, fleet: str | None, output: str) -> int:
    """Write RELEASE (an id from `history`, or its beginning) into the stage's folder, soak or window or not.

    The next `deliver` rolls it out as always, with canary and gate. A held release needs `approve` first.
    """
    from tidegate.operations import byhand
    from tidegate.operations.fence import holding

    at = desk(fleet, app, stage)
    with holding(at, f"promote by {by or person()}") as fence:
        commit = byhand.promote(at, release, fence=fence)
    said = f"{app} {release} promoted to {stage} by commit {commit[:7]}; the next deliver rolls it out"
    _say(app, stage, said, output)
    return 0


@click.command(
    epilog="""\b
Examples:
  tidegate approve shop production
  tidegate approve shop production --release 3f2a91c -m 'looked at the graphs'""",
)
@click.argument("app", type=APP)
@click.argument("stage", type=STAGE)
@click.option("--release", default="", help="Only if this release waits; the beginning of its id will do.")
@_reason
@_by
@fleet_option
@output_option
def approve(
    app: str, stage: str, release: str, reason: str, by: str | None, fleet: str | None, output: str
) -> int:
    """Say yes to what the stage waits for; recorded with your name. Exits 1 when nothing waits."""
    from tidegate.operations.approve import approve as lift

    at = desk(fleet, app, stage)
    _say(app, stage, lift(at, by=by or person(), release=release, reason=reason), output)
    return 0


@click.command(
    epilog="""\b
Examples:
  tidegate rollback shop production -m 'orders are slow'
  tidegate rollback shop production --to 1c0ffee""",
)
@click.argument("app", type=APP)
@click.argument("stage", type=STAGE)
@click.option("--to", metavar="RELEASE", help="An earlier good release.  [default: the last good one]")
@_reason
@_by
@fleet_option
@output_option
def rollback(
    app: str, stage: str, to: str | None, reason: str, by: str | None, fleet: str | None, output: str
) -> int:
    """Restore an earlier good state in Git and in the cluster, and hold the release that is there now.

    Needs neither the source repository nor registry, Prometheus, Prefect; works while the Git server is away.
    """
    from tidegate.operations import byhand

    at = desk(fleet, app, stage)
    _say(app, stage, byhand.rollback(at, to, reason, by=by or person()), output)
    return 0


def _say(app: str, stage: str, message: str, output: str) -> None:
    if output == "json":
        print_json({"app": app, "stage": stage, "message": message})
    else:
        click.echo(paint(message, "green"))
