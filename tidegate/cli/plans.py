"""`plan` and `render`: what Git says, and what applying it would change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tidegate.cli.common import APP, STAGE, desk, fleet_option, load, output_option, stage_names
from tidegate.cli.output import diff, paint, print_json

if TYPE_CHECKING:
    from tidegate.operations.desk import Desk


@click.command(
    epilog="""\b
Examples:
  tidegate plan shop production
  tidegate plan shop                         all stages
  tidegate plan shop --exit-code || echo something would change""",
)
@click.argument("app", type=APP)
@click.argument("stage", required=False, type=STAGE)
@click.option("--exit-code", is_flag=True, help="Exit 1 when something would change.")
@fleet_option
@output_option
def plan(app: str, stage: str | None, exit_code: bool, fleet: str | None, output: str) -> int:
    """Show what applying the head of the config repository would change in the cluster. Writes nothing.

    Exits 1 when the plan is refused.
    """
    from tidegate.operations.byhand import plan as look

    names = stage_names(load(fleet).application(app), stage)
    plans = {name: look(desk(fleet, app, name), datetime.now(UTC)) for name in names}
    if output == "json":
        print_json([{"app": app, "stage": name, **found.to_json()} for name, found in plans.items()])
    else:
        for name, found in plans.items():
            click.echo(f"{paint(f'{app} {name}', bold=True)}: {diff(found.text())}")
    refused = any(found.refusals for found in plans.values())
    return 1 if refused or (exit_code and any(found.writes for found in plans.values())) else 0


@click.command(
    epilog="""\b
Examples:
  tidegate render shop production | less
  tidegate render shop staging --at 3f2a91c""",
)
@click.argument("app", type=APP)
@click.argument("stage", type=STAGE)
@click.option("--at", metavar="COMMIT", help="Commit of the config repository.  [default: the branch's head]")
@fleet_option
@output_option
def render(app: str, stage: str, at: str | None, fleet: str | None, output: str) -> int:
    """Print the manifests that a stage's folder becomes; the values of Secrets are keyed digests."""
    from tidegate.domain.manifests import files, parse
    from tidegate.errors import NotFound
    from tidegate.operations.desk import digest_key
    from tidegate.operations.rendering import render as made

    at_desk = desk(fleet, app, stage)
    branch = at_desk.application.config.branch
    head = at_desk.config.fetch(branch).get(branch)
    if head is None:
        raise NotFound(f"{at_desk.config.url_redacted}: branch {branch} is gone")
    texts = files(made(at_desk, _commit(at_desk, head, at)), key=digest_key(at_desk.settings))
    if output == "json":
        print_json(parse(texts))
        return 0
    for path, text in texts.items():
        click.echo(f"---\n{paint(f'# {path}', dim=True)}\n{text.decode().rstrip()}")
    return 0


def _commit(at_desk: Desk, head: str, at: str | None) -> str:
    """The full id of a commit the branch's history has, from its beginning."""
    from tidegate.errors import SpecError

    if at is None:
        return head
    if len(at) < 4:
        raise SpecError(f"'{at}' is too short for a commit; give at least four characters")
    for commit in at_desk.config.log(head):
        if commit.sha.startswith(at):
            return commit.sha
    raise SpecError(f"no commit '{at}' in the history of the config branch; `git log` shows them")
