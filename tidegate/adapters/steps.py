"""One command of CI as a confined child: scrubbed environment, limits, masked live output, killed as a whole.

The command gets an empty HOME and only PATH, LANG, TMPDIR and what the step names; it runs in a session of
its own under `steps_child.py`, which ends everything it started. There is no network isolation on a plain
machine: a step reaches what the user who runs Tidegate reaches. Where that matters run the worker in a pod or
container with its own network policy.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from pydantic import SecretStr

from tidegate.adapters.masking import Masker
from tidegate.errors import SpecError
from tidegate.spec import format_duration

LINE = 4_000
"""Characters of one line that are shown."""
OUTPUT = 5_000_000
"""Characters of one step that are shown; the tail is kept in any case."""
TAIL = 60
"""Last lines kept for the result."""
PROCESSES = 1_000
"""More processes than this at once are a fork bomb."""
_TICK = 0.1
_WATCH = 0.4
_KILLED_LATEST = 4.0
_SUFFIXES = {
    "": 1,
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "Ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    "Ti": 1024**4,
}
_OUT_OF_MEMORY = re.compile(r"MemoryError|std::bad_alloc|Cannot allocate memory|out of memory")


def parse_size(text: str) -> int:
    """Bytes of a Kubernetes quantity (`512Mi`, `2G`); `SpecError` when it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi|Ti)?", text)
    if not found:
        raise SpecError(f"memory '{text}' is not a size; write it like 512Mi or 2Gi")
    return int(float(found[1]) * _SUFFIXES[found[2] or ""])


@dataclass(frozen=True, slots=True)
class Step:
    """What to run, where, and within which limits."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to PATH, HOME, LANG and TMPDIR; wins over them."""
    timeout: timedelta = timedelta(minutes=15)
    memory: str = "2Gi"
    """Limit for each process, and for all processes of the step together."""
    stdout: Path | None = None
    """Machine-readable output goes to this file instead of the log; standard error is still shown."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """How it ended."""

    code: int
    """Exit code; negative: the signal's number, as `subprocess` says it."""
    reason: str
    """`exit 1`, `timed out after 15m`, `killed: memory (limit 2Gi)`, `killed: SIGSEGV`, `cancelled`, …"""
    tail: str
    """The last lines of output, masked."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.code == 0 and self.reason == "exit 0"


class _Output:
    """Bytes in; whole masked lines out, bounded in length and number."""

    def __init__(self, on_line: Callable[[str], None], masker: Masker) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._stream = masker.stream()
        self._on_line = on_line
        self._rest = ""
        self._shown = 0
        self.tail: deque[str] = deque(maxlen=TAIL)

    def feed(self, data: bytes, *, final: bool = False) -> None:
        text = self._stream.feed(self._decode.decode(data, final))
        if final:
            text += self._stream.end()
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)
        if final and self._rest:
            self._line(self._rest)
        elif len(self._rest) > 2 * LINE:
            self._rest = self._rest[:LINE] + self._rest[-LINE:]  # an endless line must not fill the memory

    def _line(self, line: str) -> None:
        line = line.rstrip("\r").rpartition("\r")[2].replace("\0", "\ufffd")
        if len(line) > LINE:
            line = line[:LINE] + " … (line cut)"
        self.tail.append(line)
        before, self._shown = self._shown, self._shown + len(line) + 1
        if self._shown <= OUTPUT:
            self._on_line(line)
        elif before <= OUTPUT:
            self._shown = OUTPUT + 1
            self._on_line(f"… output limit of {OUTPUT // 1_000_000} MB reached, the rest is not shown")


class _Child:
    """The running `steps_child.py` and the three pipes to it."""

    def __init__(self, step: Step, home: str) -> None:
        self.pgid: int | None = None
        self.status: int | None = None
        self.problem = ""
        self.asked: float | None = None
        """When we asked it to end (monotonic)."""
        self._buffer = b""
        life, self._life = os.pipe()
        self.report, report = os.pipe()
        with tempfile.TemporaryFile() as plan:
            plan.write(json.dumps(_plan(step, home)).encode())
            plan.seek(0)
            argv = [sys.executable, "-I", "-S", str(Path(__file__).with_name("steps_child.py"))]
            try:
                self.process = subprocess.Popen(
                    [*argv, str(plan.fileno()), str(life), str(report)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env={},
                    cwd="/",
                    start_new_session=True,
                    pass_fds=(plan.fileno(), life, report),
                )
            except BaseException:
                os.close(self._life)
                os.close(self.report)
                raise
            finally:
                os.close(life)
                os.close(report)
        assert self.process.stdout is not None
        self.stdout: BinaryIO = self.process.stdout  # type: ignore[assignment]

    def read_report(self) -> bool:
        """Takes in what it reports; False at its end."""
        data = os.read(self.report, 4096)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for said in map(json.loads, lines):
            self.pgid = said.get("pid", self.pgid)
            self.status = said.get("status", self.status)
            self.problem = said.get("problem", self.problem)
        return bool(data)

    def end(self) -> None:
        """Asks it to end the step (SIGTERM, 2 s, SIGKILL); when it does not answer, kills by force."""
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            self._hang_up()
        elif now - self.asked > _KILLED_LATEST:
            self.kill()

    def _hang_up(self) -> None:
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def kill_group(self) -> None:
        """SIGKILL for the step, none for its small parent, which then cleans up."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.pgid is not None and self.status is None:
                os.killpg(self.pgid, signal.SIGKILL)

    def kill_session(self) -> None:
        """Nothing to do, unless the step killed its small parent: then SIGKILL for what is left of both."""
        import psutil

        if self.status is None and not self.problem:
            for pid in psutil.pids():
                if _session(pid) == self.process.pid:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL for the step and its small parent."""
        self.kill_group()
        self.process.kill()

    def close(self) -> None:
        """Waits for it, killing it when it takes too long; closes every pipe."""
        self._hang_up()
        try:
            self.process.wait(_KILLED_LATEST)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.kill_session()
        self.stdout.close()
        os.close(self.report)


def _plan(step: Step, home: str) -> dict[str, object]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    env = {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": str(Path(home, "tmp")), **step.env}
    stdout = os.path.abspath(step.stdout) if step.stdout else None
    memory = parse_size(step.memory)
    limits = {"memory": memory, "processes": PROCESSES}
    return {"argv": step.argv, "cwd": os.path.abspath(step.cwd), "env": env, "stdout": stdout, **limits}


def _excess(pid: int, memory: int, memory_text: str) -> str | None:
    """Why the processes below `pid` must be killed, if they must: their memory or their number."""
    import psutil

    # the session first: one cheap system call per process, so that a fork bomb is found while it grows
    if sum(1 for other in psutil.pids() if _session(other) == pid) > PROCESSES:
        return f"killed: more than {PROCESSES} processes"
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return None
    resident = proportional = 0
    for process in family:
        try:
            resident += process.memory_info().rss
        except psutil.Error:
            continue
    if resident <= memory:
        return None
    for process in family:  # forks share pages: ask the slow, exact question before killing
        try:
            exact = process.memory_full_info()
        except psutil.Error:
            continue
        proportional += getattr(exact, "pss", exact.uss)
    return f"killed: memory (limit {memory_text})" if proportional > memory else None


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def run(
    step: Step,
    *,
    on_line: Callable[[str], None] = lambda _: None,
    secrets: Iterable[str | SecretStr] = (),
    cancelled: threading.Event | None = None,
) -> StepResult:
    """Runs the step to its end and says how it ended; a failed command is an answer, not an exception.

    Blocks; `on_line` is called in the calling thread with every masked line. When it returns or raises,
    nothing of the step is left running (except on other systems than Linux what left the group by `setsid`).
    """
    masker = Masker(secrets)
    output = _Output(on_line, masker)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tidegate-step-", ignore_cleanup_errors=True) as home:
        Path(home, "tmp").mkdir()
        child = _Child(step, home)
        try:
            stopped = _attend(child, step, output, cancelled or threading.Event())
        finally:
            child.close()
    output.feed(b"", final=True)
    code, reason = _outcome(child, step, stopped, output.tail)
    return StepResult(code, masker.mask(reason), "\n".join(output.tail), time.monotonic() - started)


def _attend(child: _Child, step: Step, output: _Output, cancelled: threading.Event) -> str | None:
    """Carries output and watches the limits until the step is over; why we ended it, if we did."""
    memory = parse_size(step.memory)
    stopped: str | None = None
    deadline = time.monotonic() + step.timeout.total_seconds()
    watch = time.monotonic() + _WATCH
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        ready.register(child.report, selectors.EVENT_READ)
        reporting = True
        drained = float("inf")
        while ready.get_map() and time.monotonic() < drained:
            for key, _ in ready.select(_TICK):
                if key.fileobj is child.stdout:
                    data = os.read(child.stdout.fileno(), 65536)
                    output.feed(data)
                    if not data:
                        ready.unregister(child.stdout)
                elif not child.read_report():
                    ready.unregister(child.report)
                    child.kill_session()
                    reporting, drained = (
                        False,
                        time.monotonic() + 1,
                    )  # a process that escaped may hold the pipe
            if not reporting:
                continue
            now = time.monotonic()
            if stopped is None and cancelled.is_set():
                stopped = "cancelled"
            elif stopped is None and now > deadline:
                stopped = f"timed out after {format_duration(step.timeout)}"
            elif stopped is None and now > watch:
                stopped = _excess(child.process.pid, memory, step.memory)
                watch = time.monotonic() + _WATCH
                if stopped is not None:
                    child.kill_group()
            if stopped is not None:
                child.end()
    return stopped


def _outcome(child: _Child, step: Step, stopped: str | None, tail: deque[str]) -> tuple[int, str]:
    if child.problem:
        return 127, f"cannot start '{step.argv[0]}': {child.problem}"
    if child.pgid is None:
        return 127, f"cannot start '{step.argv[0]}': {sys.executable} ended with {child.process.returncode}"
    code = -signal.SIGKILL if child.status is None else child.status
    if stopped is not None:
        return code, stopped
    if code < 0:
        return code, f"killed: {_signal_name(-code)}"
    if code and any(_OUT_OF_MEMORY.search(line) for line in list(tail)[-5:]):
        return code, f"exit {code}, out of memory (limit {step.memory})"
    return code, f"exit {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
