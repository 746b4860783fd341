"""`validate` and `schema`: what users write, checked, and described for their editors."""

from __future__ import annotations

import sys
from typing import Any

import click

from tidegate.cli.common import fleet_option, how, output_option
from tidegate.cli.output import count, paint, print_json


@click.command(
    epilog="""\b
Examples:
  tidegate validate                           the fleet
  tidegate validate deployments/apps/shop.yaml
  tidegate validate -o json | jq '.problems[]'

Exits 2 when something is wrong; lines are file:line:column: what; what helps.""",
)
@click.argument("path", required=False)
@fleet_option
@output_option
def validate(path: str | None, fleet: str | None, output: str) -> int:
    """Check a spec file or a fleet folder (default: the fleet), without touching anything else.

    All mistakes of all files are named at once, each with its line and the likely correction.
    """
    from tidegate.adapters.fleet import load_fleet
    from tidegate.errors import SpecError

    settings = how(path or fleet)
    try:
        found = load_fleet(settings)
    except SpecError as error:
        return _wrong(error, output)
    if output == "json":
        apps = [{"name": a.name, "stages": [s.name for s in a.stages]} for a in found.applications]
        print_json({"ok": True, "fleet": found.source, "applications": apps, "problems": []})
        return 0
    for app in found.applications:
        click.echo(f"{paint(app.name, bold=True)}  {' → '.join(s.name for s in app.stages)}")
    stages = sum(len(app.stages) for app in found.applications)
    click.echo(
        f"{found.source}: {count(len(found.applications), 'application')}, {count(stages, 'stage')}, all right"
    )
    return 0


def _wrong(error: Any, output: str) -> int:
    if output == "json":
        fields = ("file", "line", "column", "message", "hint")
        problems = [{f: getattr(p, f) for f in fields} for p in error.problems]
        print_json({"ok": False, "problems": problems or [{"message": str(error)}]})
        return int(error.exit_code)
    if not error.problems:
        raise error
    for problem in error.problems:
        print(problem, file=sys.stderr)
    files = len({p.file for p in error.problems})
    print(f"tidegate: {count(len(error.problems), 'problem')} in {count(files, 'file')}", file=sys.stderr)
    return int(error.exit_code)


@click.command(
    epilog="""\b
Examples:
  tidegate schema > deployments/schema.json
  # yaml-language-server: $schema=../schema.json     first line of apps/shop.yaml""",
)
def schema() -> None:
    """Print the JSON Schema of an application's spec, with all plug-ins that are installed here."""
    import json

    from tidegate.spec import schema as made

    click.echo(json.dumps(made(), indent=2, ensure_ascii=False))
