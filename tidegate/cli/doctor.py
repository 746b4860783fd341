"""`doctor`: everything a delivery leans on, asked one by one, an answer in a sentence each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import click

from tidegate.cli.common import fleet_option, how, output_option
from tidegate.cli.output import Cell, count, print_json, table

if TYPE_CHECKING:
    from tidegate.settings import Settings
    from tidegate.spec import Application, Section, Stage

_OLDEST_GIT = (2, 31)
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str
    """`ok`, `wrong`, or `absent` for what is only needed sometimes."""
    message: str


Look = Callable[[], str]
"""Says how it is; raises when it is not well."""


@click.command(
    epilog="""\b
Examples:
  tidegate doctor
  tidegate doctor -o json | jq '.[] | select(.state == "wrong")'""",
)
@fleet_option
@output_option
def doctor(fleet: str | None, output: str) -> int:
    """Check the tools, the fleet, and that each stage's repositories, cluster and metrics answer.

    Writes nothing. Exits 1 when something is wrong.
    """
    settings = how(fleet)
    findings = [*_tools(settings), *_fleet(settings)]
    if output == "json":
        print_json([asdict(f) for f in findings])
    else:
        click.echo(table(("WHAT", "STATE", "ANSWER"), [_cells(f) for f in findings]))
        wrong = sum(f.state == "wrong" for f in findings)
        click.echo(f"{count(len(findings), 'check')}, {f'{wrong} wrong' if wrong else 'all right'}")
    return 1 if any(f.state == "wrong" for f in findings) else 0


def _cells(found: Finding) -> list[Cell]:
    colour = {"ok": "green", "wrong": "red"}.get(found.state, "yellow")
    return [Cell(found.what), Cell(found.state, colour), Cell(found.message)]


def _ask(what: str, look: Look) -> Finding:
    from tidegate.errors import TidegateError

    try:
        return Finding(what, "ok", look())
    except TidegateError as error:
        return Finding(what, "wrong", str(error))
    except (OSError, ValueError) as error:
        return Finding(what, "wrong", f"{type(error).__name__}: {error}")


# --- this machine ------------------------------------------------------------------------------------------------


def _tools(settings: Settings) -> Iterator[Finding]:
    yield _ask("git", _git)
    yield _binary("prometheus", settings.prometheus, "needed by `tidegate demo` only")
    yield _binary("kustomize", settings.kustomize, "needed where 'render: kustomize' is used")
    yield _binary("helm", settings.helm, "needed where 'render: helm' is used")
    yield _ask("state folder", lambda: _writable(settings.home))
    api = os.environ.get("PREFECT_API_URL")
    if api:
        yield _ask("prefect", lambda: _prefect(api))
    else:
        yield Finding("prefect", "absent", "PREFECT_API_URL is not set; `tidegate up` starts a server")


def _git() -> str:
    import re
    import subprocess

    from tidegate.errors import PluginError

    try:
        said = subprocess.run(
            ["git", "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PluginError("git does not start; install git 2.31 or newer") from error
    found = re.search(r"(\d+)\.(\d+)\S*", said.stdout)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST_GIT:
        raise PluginError(f"{said.stdout.strip()} is too old; install git 2.31 or newer")
    return found[0]


def _binary(name: str, given: Path | None, purpose: str) -> Finding:
    path = shutil.which(str(given) if given else name)
    if path:
        return Finding(name, "ok", path)
    where = f"{given} cannot be run" if given else "not on PATH"
    return Finding(name, "wrong" if given else "absent", f"{where}; {purpose}")


def _writable(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        raise PermissionError(f"{home} cannot be written")
    return str(home)


def _prefect(api: str) -> str:
    _get(f"{api.rstrip('/')}/health", {})
    version = json.loads(_get(f"{api.rstrip('/')}/admin/version", {}))
    return f"{api}, version {version}"


def _get(url: str, headers: dict[str, str]) -> bytes:
    from tidegate.errors import Unreachable

    if not url.startswith(("http://", "https://")):
        raise Unreachable(f"{url}: not an address of HTTP")
    try:
        with urlopen(Request(url, headers=headers), timeout=_SECONDS) as answer:  # noqa: S310
            return bytes(answer.read(2**20))
    except OSError as error:
        raise Unreachable(f"{url}: {getattr(error, 'reason', error)}") from error


# --- the fleet ---------------------------------------------------------------------------------------------------


def _fleet(settings: Settings) -> list[Finding]:
    from tidegate.adapters.fleet import load_fleet
    from tidegate.errors import TidegateError

    try:
        fleet = load_fleet(settings)
    except TidegateError as error:
        first, *more = str(error).splitlines()
        rest = f" (and {count(len(more), 'problem')} more: `tidegate validate`)" if more else ""
        return [Finding("fleet", "wrong", first + rest)]
    looks = [look for app in fleet.applications for look in _application(app, settings)]
    asked = [
        _ask(*look) for look in looks[:3]
    ]  # one of each kind: client libraries do not load in two threads
    with ThreadPoolExecutor(8) as pool:  # the rest are waited for at the same time
        asked += pool.map(lambda look: _ask(*look), looks[3:])
    return [
        Finding("fleet", "ok", f"{fleet.source}: {count(len(fleet.applications), 'application')}"),
        *asked,
    ]


def _application(app: Application, settings: Settings) -> Iterator[tuple[str, Look]]:
    yield f"{app.name} source", lambda: _branch(app.source.git, app.source.branch, settings)
    yield f"{app.name} config", lambda: _branch(app.config.git, app.config.branch, settings)
    for stage in app.stages:
        yield f"{app.name} {stage.name} target", _target(app, stage, settings)
        if stage.gate:
            yield f"{app.name} {stage.name} metrics", _metrics(stage.gate.metrics)


def _branch(url: str, branch: str, settings: Settings) -> str:
    from tidegate.adapters.git import Mirror
    from tidegate.errors import NotFound

    mirror, ref = Mirror(url, settings), f"refs/heads/{branch}"
    found = mirror.ls_remote(ref).get(ref)
    if found is None:
        raise NotFound(f"{mirror.url_redacted}: no branch '{branch}'")
    return f"{mirror.url_redacted} {branch} is at {found[:7]}"


def _target(app: Application, stage: Stage, settings: Settings) -> Look:
    def look() -> str:
        from tidegate.operations.desk import open_desk
        from tidegate.operations.fence import lease_name

        desk = open_desk(app, stage.name, settings)
        state = desk.target.lease(lease_name(desk), "").state()
        free = state is None or state[1]
        return f"{stage.target.kind} answers, {'nobody works here' if free else f'{state and state[0]} works here'}"

    return look


def _metrics(section: Section) -> Look:
    def look() -> str:
        url = str(section.settings.get("url", ""))
        _get(f"{url.rstrip('/')}/api/v1/query?query=1", _headers(section))
        return f"{url} answers queries"

    return look


def _headers(section: Section) -> dict[str, str]:
    given = section.settings
    headers = {str(k): str(v) for k, v in dict(given.get("headers", {})).items()}
    token = given.get("token")
    if given.get("token_file"):
        token = Path(given["token_file"]).read_text().strip()
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers
