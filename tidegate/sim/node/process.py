"""One container = one local process group, behind a shell that outlives us.

The shell (`dash`: under 1 MiB) writes its pid before and the exit code after the command, so a node agent that was
killed and started again finds its containers running, adopts them, and still learns how they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_SHIM = (
    "trap : TERM INT HUP QUIT USR1 USR2; "
    'echo $$ >"$0/pid.new" && mv "$0/pid.new" "$0/pid" || exit 126; '
    '"$@"; code=$?; '
    'echo $code >"$0/exit.new" && mv "$0/exit.new" "$0/exit"; exit $code'
)
_POLL_SECONDS = 0.25
KILLED = 137


class Process:
    """A started container. `folder` belongs to this one run: it holds pid and exit code, and marks the command."""

    def __init__(self, folder: Path, pid: int, popen: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self._folder = folder
        self._popen = popen
        self._code: int | None = None

    @property
    def running(self) -> bool:
        if self._code is not None:
            return False
        if self._popen is not None:
            return self._popen.poll() is None
        return _is_ours(self.pid, self._folder)

    def signal(self, number: int) -> None:
        """To the whole group; nothing when it is gone."""
        if self._popen is None and not _is_ours(self.pid, self._folder):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def wait(self) -> int:
        """The exit code as a shell tells it (128 + signal); the rest of the group is gone afterwards."""
        if self._code is None:
            await self._ended()
            self._code = self._read_code()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._code

    async def stop(self, grace_seconds: float) -> int:
        """SIGTERM, then SIGKILL when `grace_seconds` have passed."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(
                asyncio.shield(asyncio.ensure_future(self.wait())), max(grace_seconds, 0.01)
            )
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.wait()

    async def _ended(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except (AttributeError, OSError):
            while self.running:  # noqa: ASYNC110 macOS has no pidfd
                await asyncio.sleep(_POLL_SECONDS)
            return
        try:
            if self.running:
                await _readable(descriptor)
        finally:
            os.close(descriptor)

    def _read_code(self) -> int:
        code = None
        if self._popen is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._popen.wait(5.0)
        if code is None or code < 0:
            code = _number(self._folder / "exit")
        return KILLED if code is None else code


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(descriptor, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(descriptor)


def start(folder: Path, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Process:
    """Starts `argv` in its own session with output appended to `log`. Blocking; raises OSError."""
    folder.mkdir(parents=True)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            ["/bin/sh", "-c", _SHIM, str(folder), *argv],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Process(folder, popen.pid, popen)


def adopt(folder: Path) -> Process | None:
    """The container an earlier agent started, if it still runs."""
    pid = _number(folder / "pid")
    if pid is None or not _is_ours(pid, folder):
        return None
    return Process(folder, pid, None)


def exit_code(folder: Path) -> int | None:
    """How the last command in `folder` ended, if it told."""
    return _number(folder / "exit")


def kill_leftover(folder: Path) -> None:
    """Kills a process group nobody knows any more and waits until it is gone (at most 5 s)."""
    found = adopt(folder)
    if found is None:
        kill_strays(folder)
        return
    found.signal(signal.SIGKILL)
    until = time.monotonic() + 5.0
    while found.running and time.monotonic() < until:
        time.sleep(0.02)


def kill_strays(folder: Path) -> None:
    """Kills what is left of a run whose shell has died: its process group, as far as it works in our folders."""
    group = _number(folder / "pid")
    home = os.path.realpath(folder.parents[1])
    if group is None:
        return
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and psutil.Process(pid).cwd().startswith(home + os.sep):
                os.kill(pid, signal.SIGKILL)
        except (psutil.Error, OSError):
            continue


def _is_ours(pid: int, folder: Path) -> bool:
    """By the command line: environments of system programs are hidden on macOS."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cmdline()
    except (psutil.Error, OSError):
        return False


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
