"""`tidegate up`: a Prefect server (unless there is one), our flows registered with it, a runner for them.

Everything is a child process of this one. What dies is started again; Ctrl-C stops all of it, nothing else.
The database of the server may be deleted at any time: what counts is in Git and in the cluster.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess  # nosec B404
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi

from tidegate.errors import Refused, TidegateError, Unreachable
from tidegate.running.engine import PLACE
from tidegate.running.processes import Processes, answers, free_port
from tidegate.settings import Settings, settings

POOL = "tidegate"
SERVER, RUNNER, WARM = "prefect-server", "runner", "warm"
SERVER_SECONDS = 120.0
REGISTER_SECONDS = 180.0
IMPORTED = ("flows",)
"""What every flow run needs, imported once by the warm process."""
LONGEST_SOCKET = 107
"""Bytes of a socket's path on Linux (`sun_path`, less its end)."""
ROOT = Path(__file__).resolve().parents[2]

Say = Callable[[str], None]


def server_settings(home: Path, port: int) -> dict[str, str]:
    """How our own server runs: one SQLite file, leases that survive a restart, nothing sent anywhere."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "DO_NOT_TRACK": "1",
    }


def client_settings(home: Path, api: str) -> dict[str, str]:
    """How runner and flows talk to a server: quick polls, heartbeats, our log lines in the run."""
    return {
        **(_without_tls(home) if api.startswith("http://") else {}),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        # A tick taken early meets the one before still running, and CANCEL_NEW drops it.
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def _without_tls(home: Path) -> dict[str, str]:
    """Spares each client, of which a run makes a dozen, reading all certificate authorities (40 ms): one will do."""
    bundle = home / "one-authority.pem"
    if not bundle.exists():
        home.mkdir(parents=True, exist_ok=True)
        whole, end = Path(certifi.where()).read_text(), "-----END CERTIFICATE-----"
        draft = bundle.with_suffix(f".{os.getpid()}")
        draft.write_text(f"{whole.partition(end)[0]}{end}\n")
        draft.replace(bundle)
    return {"PREFECT_API_SSL_CERT_FILE": str(bundle)}


@dataclass(frozen=True, slots=True)
class Platform:
    """A running Prefect with our flows in it."""

    api: str
    home: Path
    """`PREFECT_HOME` of everything here."""

    @property
    def ui(self) -> str:
        """What to open in a browser."""
        return self.api.removesuffix("/api")


class Up:
    """The parts of `tidegate up`, startable one by one; the demo puts its own world around them."""

    def __init__(self, processes: Processes, home: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.processes, self.home = processes, home
        self.prefect = home / "prefect"
        self.env = {"TIDEGATE_HOME": str(home), "PATH": program_path(), **(env or {})}
        """Added to ours for every child."""

    def existing_server(self, api: str) -> Platform:
        """The healthy server at `api`; `Unreachable` when there is none."""
        if not answers(f"{api}/health"):
            raise Unreachable(f"no healthy Prefect server at {api}; unset PREFECT_API_URL and we start one")
        self.prefect.mkdir(parents=True, exist_ok=True)
        return Platform(api, self.prefect)

    def start_server(self) -> Platform:
        """Our own server on a free port, started but perhaps not ready."""
        self.prefect.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.processes.start(
            SERVER,
            [*_python("tidegate.running.server"), "--host", "127.0.0.1", "--port", str(port)],
            env={**self.env, **server_settings(self.prefect, port)},
            cwd=ROOT,
        )
        return Platform(f"http://127.0.0.1:{port}/api", self.prefect)

    def wait_server(self, platform: Platform) -> None:
        """Until our own server is healthy; `Unreachable` with the end of its log when it is not in time."""
        child = self.processes.children[SERVER]
        self.processes.wait(child, lambda: answers(f"{platform.api}/health"), seconds=SERVER_SECONDS)

    def register(self, platform: Platform) -> None:
        """Tell the server about our flows, schedules, limits and automations; `Unreachable` says why not."""
        argv = _python("deployments.apply")
        try:
            done = subprocess.run(  # nosec B603
                argv,
                env={**os.environ, **self.env, **client_settings(platform.home, platform.api)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=REGISTER_SECONDS,
            )
        except subprocess.TimeoutExpired as slow:
            raise Unreachable(f"registering the flows took longer than {REGISTER_SECONDS:.0f} s") from slow
        if done.returncode:
            raise Unreachable(f"registering the flows failed:\n{(done.stdout + done.stderr).strip()[-4000:]}")

    def runner(self, platform: Platform, *, pool: str = POOL) -> None:
        """A worker that starts each flow run as a process here, forked from a warm one where that is possible."""
        place = self.home / "warm.sock"
        env = {**self.env, **client_settings(platform.home, platform.api), PLACE: str(place)}
        if sys.platform == "linux" and len(str(place)) <= LONGEST_SOCKET:
            self.processes.start(
                WARM, [*_python("tidegate.running.warm"), str(place), *IMPORTED], env=env, cwd=ROOT
            )
        worker = [*_python("prefect"), "worker", "start", "--pool", pool, "--type", "process"]
        self.processes.start(RUNNER, worker, env=env, cwd=ROOT)

    def stop_runner(self) -> None:
        """Stop the worker and the runs it has begun."""
        for name in (RUNNER, WARM):
            if child := self.processes.children.pop(name, None):
                child.stop(time.monotonic() + self.processes.grace)


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def absolute(fleet: str) -> str:
    """The fleet's place, independent of the folder a child runs in; Git addresses stay as they are."""
    return fleet if "//" in fleet or "@" in fleet else str(Path(fleet).resolve())


def program_path() -> str:
    """PATH with the folder of our own interpreter first: `python`, `ruff` are those of this install."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the folder's lock; `Refused` when another process uses the same TIDEGATE_HOME."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise Refused(
                f"{home}: already in use by another tidegate; stop it, or set TIDEGATE_HOME"
            ) from taken
        yield


def hear_sigterm() -> None:
    """From now on SIGTERM is like Ctrl-C, also where a shell's `&` had both ignored. Main thread only."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def up(given: Settings | None = None, *, say: Say = print) -> int:
    """Start everything, print where the UI is, stay until Ctrl-C or SIGTERM; the exit code."""
    how = given or settings()
    home = how.home
    hear_sigterm()
    with contextlib.suppress(KeyboardInterrupt), alone(home), Processes(home / "logs") as processes:
        processes.end_leftovers()
        parts = Up(processes, home, env={"TIDEGATE_FLEET": absolute(how.fleet)})
        api = os.environ.get("PREFECT_API_URL")
        platform = parts.existing_server(api) if api else parts.start_server()
        say(f"UI        {platform.ui}")
        if not api:
            parts.wait_server(platform)
        parts.register(platform)
        parts.runner(platform)
        say(f"API       {platform.api}   (export PREFECT_API_URL={platform.api} for `tidegate run`)")
        say(f"logs      {processes.logs}")
        say("The runner is up. Ctrl-C stops everything that was started here.")
        while True:
            time.sleep(0.5)
            for name in processes.revive():
                say(f"{name} had ended and was started again")
    return 0


def main() -> int:
    """`python -m tidegate.running.up`: one sentence instead of a traceback for what we know can go wrong."""
    try:
        return up()
    except TidegateError as error:
        print(f"tidegate up: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
