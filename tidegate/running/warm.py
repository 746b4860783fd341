"""A process that has imported what flow runs need, and forks one for each.

    python -m tidegate.running.warm SOCKET PACKAGE…

`engine` asks over the socket, with its environment, folder and the three standard streams. A fork dies with whoever
asked for it, and with this process. Only our own user may connect. It needs Linux: elsewhere forking after imports is
not safe, and runs start cold.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.running.engine import MESSAGE
from tidegate.running.leash import PR_SET_PDEATHSIG

LOOK_SECONDS = 5.0
ENGINE = (
    "anyio._backends._asyncio",
    "prefect.bundles",
    "prefect.deployments.steps",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.runner",
    "prefect.runner.storage",
)
"""What Prefect's engine imports by and by."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a fork shall become."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    streams: tuple[int, ...]

    def fits(self) -> bool:
        """Whether Python itself would be set up there as it is here."""
        return _python(self.env) == _python(os.environ)

    def become(self) -> None:
        """Run Prefect's engine, in the fork, as if it had been started like this."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.env)
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        sys.argv = ["prefect.engine", *self.argv]
        sys.modules.pop("prefect.engine", None)  # it is to run as a program, from its first line
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LD_", "LC_", "LANG"))}


class Forks:
    """The socket, and the forks by who asked for them."""

    def __init__(self, place: Path) -> None:
        place.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(place))
        finally:
            os.umask(before)
        self._listener.listen(64)
        self._wakeup, waker = socket.socketpair()
        for end in (self._wakeup, waker):
            end.setblocking(False)
        self._waker = waker
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._forks: dict[socket.socket, int] = {}

    def serve(self) -> Job:
        """Answer until this process is told to stop; returns, in a fork only, what the fork shall become."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())
        while True:
            for key, _ in self._selector.select(LOOK_SECONDS):
                if key.fileobj is self._listener:
                    job = self._asked()
                    if job:
                        return job
                elif key.fileobj is self._wakeup:
                    with contextlib.suppress(BlockingIOError):
                        self._wakeup.recv(4096)
                else:
                    self._heard(key.fileobj)
            self._reap()

    def _asked(self) -> Job | None:
        """Fork for somebody new; returns the job in the fork only."""
        line, _ = self._listener.accept()
        line.settimeout(LOOK_SECONDS)
        job, here = _received(line), os.getpid()
        if job is None:
            line.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._leave(line, here)
            return job
        for stream in job.streams:
            os.close(stream)
        self._forks[line] = pid
        self._selector.register(line, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            line.send(b"begun")
        return None

    def _leave(self, line: socket.socket, parent: int) -> None:
        """In the fork: forget everything of the parent's, and die with it."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for end in (self._listener, self._wakeup, self._waker, line, *self._forks):
            end.close()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    def _heard(self, line: object) -> None:
        """A signal to pass on, or the end of who asked."""
        assert isinstance(line, socket.socket)
        try:
            said = line.recv(64)
        except OSError:
            said = b""
        pid = self._forks.get(line)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, int(said) if said else signal.SIGKILL)
        if not said:
            self._selector.unregister(line)

    def _reap(self) -> None:
        """Tell how the forks ended that have ended."""
        for line, pid in list(self._forks.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if not found:
                continue
            with contextlib.suppress(OSError):
                line.send(str(os.waitstatus_to_exitcode(status)).encode())
            with contextlib.suppress(KeyError):
                self._selector.unregister(line)
            line.close()
            del self._forks[line]


def _received(line: socket.socket) -> Job | None:
    """What is asked for, if we can do it; who asked starts cold otherwise."""
    streams: list[int] = []
    try:
        said, streams, _, _ = socket.recv_fds(line, MESSAGE, 3)
        given = json.loads(said)
        job = Job(tuple(given["argv"]), given["cwd"], given["env"], tuple(streams))
        if len(streams) == 3 and job.fits():
            return job
    except (OSError, ValueError):
        pass
    for stream in streams:
        os.close(stream)
    return None


def load(packages: Sequence[str]) -> None:
    """Import Prefect's engine, and these packages with their modules."""
    for name in (*ENGINE, *packages):
        package = importlib.import_module(name)
        if name in packages:
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{name}.{module.name}")
    gc.freeze()  # what all have stays shared: a fork's collector does not write to it


def main() -> None:
    """Load, then serve; returns in a fork that has done its run."""
    place, *packages = sys.argv[1:]
    load(packages)
    Forks(Path(place)).serve().become()


if __name__ == "__main__":
    main()
