"""The processes `tidegate up` and the demo stand on: started, watched, restarted, stopped to the last one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess  # nosec B404
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil

from tidegate.errors import Unreachable
from tidegate.running import leash

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
STEADY_SECONDS = 60.0
"""A child that lived this long is not in a crash loop."""
LONGEST_BACK_OFF = 30.0
TAIL_LINES = 12
MARK = "TIDEGATE_PROCESSES"
"""In the environment of everything we start, whatever session it is in: the folder of our logs."""


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether somebody answers this URL with success."""
    try:
        with urlopen(url, timeout=2) as reply:  # noqa: S310  # nosec B310 -- http only, built by us
            return bool(reply.status < 300)
    except (OSError, HTTPError, ValueError):
        return False


def end_marked(ours: Callable[[Mapping[str, str]], bool]) -> None:
    """Kill the processes whose environment is ours, and wait until they are gone (at most 5 s)."""
    found = [
        process for process in psutil.process_iter() if process.pid != os.getpid() and _is(process, ours)
    ]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)


def _is(process: psutil.Process, ours: Callable[[Mapping[str, str]], bool]) -> bool:
    try:
        return ours(process.environ())
    except (psutil.Error, OSError):
        return False


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM for a while (where Python lets us: in the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@dataclass
class Child:
    """One process in its own session, its log, and how often it had to be started again."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None
    log: Path
    restart: bool
    popen: subprocess.Popen[bytes] = field(init=False)
    started: float = field(init=False, default=0.0)
    falls: int = field(init=False, default=0)

    def start(self) -> None:
        """Start it, on a leash: when we are killed, it is told to stop."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        leashed = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self.argv)
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(  # nosec B603
                leashed,
                env=dict(self.env),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    @property
    def due(self) -> float:
        """Monotonic time before which it is not started again: 1, 2, 4 … 30 s after it was last started."""
        return self.started + min(LONGEST_BACK_OFF, 2.0 ** min(self.falls, 10))

    def tail(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def stop(self, deadline: float) -> None:
        """SIGTERM, and SIGKILL for its whole session when it has not ended by the deadline (monotonic)."""
        if self.alive:
            self.popen.terminate()
        try:
            self.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s does not stop; killing it", self.name)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Processes:
    """Children by name. As a context manager it stops, last started first, all it started and only that."""

    def __init__(self, logs: Path, *, grace: float = 15.0) -> None:
        self.logs, self.grace = logs, grace
        self.mark = {MARK: str(logs.resolve())}
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        restart: bool = True,
    ) -> Child:
        """Start a child; `env` is added to ours. Its output goes to `<logs>/<name>.log`."""
        child = Child(
            name,
            tuple(argv),
            {**os.environ, **(env or {}), **self.mark},
            cwd,
            self.logs / f"{name}.log",
            restart,
        )
        self.children[name] = child
        child.start()
        return child

    def wait(self, child: Child, ready: Callable[[], bool], *, seconds: float) -> None:
        """Until `ready()`; `Unreachable` with the end of its log when it dies or is too slow."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not child.alive:
                raise Unreachable(f"{child.name}: ended with code {child.popen.returncode}:\n{child.tail()}")
            if time.monotonic() > deadline:
                raise Unreachable(f"{child.name}: not ready after {seconds:.0f} s:\n{child.tail()}")
            time.sleep(LOOK_SECONDS)

    def revive(self) -> tuple[str, ...]:
        """Start again what died, with growing pauses; the names of those started now."""
        now, revived = time.monotonic(), []
        for child in self.children.values():
            if child.alive or not child.restart or now < child.due:
                continue
            child.falls = 0 if now - child.started > STEADY_SECONDS else child.falls + 1
            log.warning("%s ended with code %s; starting it again", child.name, child.popen.returncode)
            child.start()
            revived.append(child.name)
        return tuple(revived)

    def stop(self) -> None:
        """Stop all children, last started first; nothing is left half stopped by a second Ctrl-C."""
        with deaf():
            while self.children:
                _, child = self.children.popitem()
                child.stop(time.monotonic() + self.grace)
            self.end_leftovers()

    def end_leftovers(self) -> None:
        """Kill what children started in sessions of their own and left behind, or what an earlier us left.

        A runner that was killed leaves flow runs like that. Only processes that carry our mark are touched.
        """
        end_marked(lambda env: env.get(MARK) == self.mark[MARK])
