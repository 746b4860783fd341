"""`health test`: health scripts, run on the cases that lie beside them."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(
    epilog="""\b
Examples:
  tidegate health test deployments/health
  tidegate health test resource_customizations   a folder of Argo CD's""",
)
def health() -> None:
    """Check the health scripts of a fleet, `health/<group>/<Kind>/health.lua`."""


@health.command(
    epilog="""\b
Examples:
  tidegate health test deployments/health
  tidegate health test resource_customizations   a folder of Argo CD's

\b
Exits 1 when a case differs, 2 when there are no cases or a file is broken;
the lines are <group>/<Kind>/testdata/<file>: what is; what should be.""",
)
@click.argument("folder", type=click.Path(path_type=Path))
def test(folder: Path) -> int:
    """Run every case of FOLDER and print what differs, then `N/M cases`.

    FOLDER is laid out <group>/<Kind>/health.lua, health_test.yaml and testdata/, as in Argo CD; `_` in a folder's
    name stands for anything. Status and message must be equal.
    """
    from tidegate.adapters.health_scripts import cases, run

    found = cases(folder)
    passed = 0
    for outcome in run(folder, found):
        passed += not outcome.differences
        for difference in outcome.differences:
            click.echo(f"{outcome.case.name}: {difference}")
    click.echo(f"{passed}/{len(found)} cases")
    return 0 if passed == len(found) else 1
