"""Run a command so that it never outlives us: `python leash.py PARENT-PID COMMAND…`.

When the parent is killed with a signal nobody can catch, the command gets SIGTERM and may stop in order. On
Linux the kernel does it (`PR_SET_PDEATHSIG`, kept across `exec`; it fires when the starting *thread* ends, so
start from the main one); elsewhere this process stays, and watches.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess  # nosec B404
import sys
import time

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 1.0
GRACE_SECONDS = 10.0


def hold(parent: int, command: list[str]) -> int:
    """Become the command (Linux), or run it and watch the parent; the command's exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a shell's `&` leaves them ignored, and exec keeps that
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            return 1
        os.execvp(command[0], command)  # noqa: S606  # nosec B606
    return _watch(parent, command)


def _watch(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command)  # nosec B603
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: child.send_signal(got))
    while child.poll() is None and os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()


if __name__ == "__main__":
    raise SystemExit(hold(int(sys.argv[1]), sys.argv[2:]))
