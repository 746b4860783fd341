"""Children are watched, restarted, and never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tidegate.errors import Unreachable
from tidegate.running.processes import Processes

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True); time.sleep(600)",
]
DYING = [sys.executable, "-c", "print('no such port'); raise SystemExit(7)"]


def says(path: Path, word: str) -> bool:
    return path.exists() and word in path.read_text()


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_leaving_stops_what_was_started(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start("sleeper", SLEEP)
        processes.wait(child, lambda: says(child.log, "up"), seconds=20)
        assert child.alive
    assert gone(child.popen.pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with Processes(tmp_path, grace=0.3) as processes:
        child = processes.start("stubborn", STUBBORN)
        processes.wait(child, lambda: says(child.log, "up"), seconds=20)
    assert child.popen.returncode == -signal.SIGKILL


def test_a_child_that_dies_at_its_start_is_reported_with_its_own_words(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start("dying", DYING)
        with pytest.raises(Unreachable, match=r"(?s)dying: ended with code 7.*no such port"):
            processes.wait(child, lambda: False, seconds=20)


def test_a_dead_child_is_started_again_after_a_pause(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start("sleeper", SLEEP)
        first = child.popen.pid
        child.popen.kill()
        child.popen.wait()
        assert processes.revive() == (), "the first pause is a second"
        until(lambda: processes.revive() == ("sleeper",))
        assert child.alive
        assert child.popen.pid != first
        assert child.due - child.started == 2.0


def test_children_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from tidegate.running.processes import Processes
child = Processes(Path({str(tmp_path)!r})).start("sleeper", {SLEEP!r})
Path({str(tmp_path / "pid")!r}).write_text(f"{{child.popen.pid}}\\n")
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        until(lambda: says(tmp_path / "pid", "\n") and says(tmp_path / "sleeper.log", "up"))
        pid = int((tmp_path / "pid").read_text())
        assert not gone(pid)
        os.kill(parent.pid, signal.SIGKILL)
        until(lambda: gone(pid))
    finally:
        parent.kill()
        parent.wait()


def test_leaving_ends_also_what_a_child_started_in_a_session_of_its_own(tmp_path: Path) -> None:
    mother = (
        "import pathlib, subprocess, time\n"
        f"child = subprocess.Popen({SLEEP!r}, start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(f'{{child.pid}}\\n')\n"
        "time.sleep(600)"
    )
    with Processes(tmp_path) as processes:
        child = processes.start("mother", [sys.executable, "-c", mother])
        processes.wait(child, lambda: says(tmp_path / "pid", "\n"), seconds=20)
        pid = int((tmp_path / "pid").read_text())
        assert not gone(pid)
    assert gone(pid)
