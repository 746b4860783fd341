"""The small parent of every step: sets limits, starts the command, and leaves nothing of it behind.

Run as a file by `tidegate.adapters.steps` (`python -I -S steps_child.py PLAN_FD LIFE_FD REPORT_FD`), so it
imports the standard library only and starts in about 20 ms. It reads the plan as JSON, runs the command in a
process group of its own, and ends it when the life line closes: that happens when the run is cancelled, is
out of time, or the process that asked for it was killed. On Linux it is a subreaper: what left the group by
`setsid` comes to it and is killed, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # macOS refuses some; the memory watch of the caller still holds
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _of_user() -> int:
    """Threads of our user; where /proc does not tell, a guess that leaves room."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")) if _LINUX else ():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{name}/task"))
    return count or 1_000


def _become(plan: dict[str, Any]) -> None:
    """In the child: limits, own group, then the command. Never returns."""
    os.setpgid(0, 0)
    os.nice(5)  # a busy step must not starve the worker, whose lease has to be renewed
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _limit(resource.RLIMIT_CORE, 0)
    # RLIMIT_DATA and not RLIMIT_AS: since Linux 4.7 it counts private writable memory; AS would also count
    # what runtimes (V8, Go, Java, sanitizers) only reserve, and kill programs that use a tenth of their limit
    _limit(resource.RLIMIT_DATA, plan["memory"])
    if os.geteuid() != 0:  # the limit counts all processes of the user, and does not hold for root
        _limit(resource.RLIMIT_NPROC, _of_user() + plan["processes"])
    for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(plan["cwd"])
    except OSError as error:
        raise RuntimeError(f"folder '{plan['cwd']}': {error.strerror}") from error
    if plan["stdout"]:
        target = os.open(plan["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(target, 1)
    os.execvpe(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606  (a shell is what we do not want)


def _start(plan: dict[str, Any]) -> tuple[int, str]:
    """Pid of the command and "", or 0 and why it could not start."""
    read, write = os.pipe()  # close-on-exec: an empty read means that exec happened
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            _become(plan)
        except BaseException as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            os.write(write, ("command not found" if isinstance(error, FileNotFoundError) else text).encode())
        os._exit(127)
    os.close(write)
    with open(read, "rb") as stream:
        problem = stream.read().decode()
    if problem:
        os.waitpid(pid, 0)
        return 0, problem
    return pid, ""


def _children() -> list[int]:
    """Every process whose parent we are: on Linux also orphans of the step, because we are its subreaper."""
    if not _LINUX:
        return []
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stream:
                parent = stream.read().rpartition(b")")[2].split()[1]
        except (OSError, IndexError):
            continue
        if int(parent) == os.getpid():
            found.append(int(name))
    return found


def _signal(pid: int, number: int, *, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)


def _reap(pid: int) -> int | None:
    """Collects what has ended; the wait status of `pid` when it is among them."""
    status = None
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if ended == 0:
            return status
        if ended == pid:
            status = code


def _wait(pid: int, wake: int, life: int) -> tuple[int | None, bool]:
    """Until the command ends or the life line closes: its status (None: it lives), and whether to end it."""
    while True:
        status = _reap(pid)
        if status is not None:
            return status, False
        ready, _, _ = select.select([wake, life], [], [])
        if life in ready:
            return None, True
        os.read(wake, 4096)


def _sweep(pid: int) -> int | None:
    """Kills until nothing is left: the group, then whoever became our child by losing its parent."""
    status = None
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        _signal(pid, signal.SIGKILL, group=True)
        for child in _children():
            _signal(child, signal.SIGKILL)
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if ended == pid:
            status = code
        if ended == 0:
            time.sleep(0.005)
    return status


def _finish(pid: int, wake: int) -> int | None:
    """SIGTERM to all, up to GRACE seconds for the command to end."""
    _signal(pid, signal.SIGTERM, group=True)
    for child in _children():
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while (left := deadline - time.monotonic()) > 0:
        status = _reap(pid)
        if status is not None:
            return status
        if select.select([wake], [], [], left)[0]:
            os.read(wake, 4096)
    return None


def _tell(report: int, **said: object) -> None:
    # whoever asked may be gone already: what it started must end all the same
    with contextlib.suppress(BrokenPipeError):
        os.write(report, (json.dumps(said) + "\n").encode())


def main(plan_fd: int, life: int, report: int) -> None:
    """Runs the plan and writes two lines to the report: `{"pid"}` or `{"problem"}`, then `{"status"}`."""
    with open(plan_fd, "rb") as stream:
        plan = json.load(stream)
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for fd in (life, report):
        os.set_inheritable(fd, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    pid, problem = _start(plan)
    if problem:
        _tell(report, problem=problem)
        return
    _tell(report, pid=pid)
    status, told = _wait(pid, wake, life)
    if told:
        status = _finish(pid, wake)
    swept = _sweep(pid)
    status = swept if status is None else status
    _tell(report, status=-9 if status is None else os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
