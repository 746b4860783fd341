"""`up` and `demo`: Tidegate itself, running."""

from __future__ import annotations

import click

from tidegate.cli.common import fleet_option, how


@click.command(
    epilog="""\b
Examples:
  tidegate up                                     deployments/, server and runner here
  tidegate up --fleet https://git.example/fleet.git//deployments@main
  PREFECT_API_URL=https://prefect.example/api tidegate up     that server, a runner here""",
)
@fleet_option
def up(fleet: str | None) -> int:
    """Start a Prefect server (unless PREFECT_API_URL names one), register the flows, and run them until Ctrl-C."""
    from tidegate.running.up import up as serve

    return serve(how(fleet), say=click.echo)


@click.command(
    epilog="""\b
Examples:
  tidegate demo
  CI=true tidegate demo      play it, check how it ends, stop everything""",
)
def demo() -> int:
    """Play the story on this machine: a good release, a bad one that is caught and undone, and its fix.

    Starts an embedded cluster, a Git server, Prometheus and Prefect on free loopback ports; stays up until
    Ctrl-C when it has a terminal. Not for production.
    """
    from tidegate.demo.story import demo as play

    return play()
