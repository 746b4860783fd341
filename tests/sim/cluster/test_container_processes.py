"""A container is a process group that outlives the agent, and can be found, adopted and stopped again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil

from tidegate.sim.node import process
from tidegate.sim.node.process import Process


def run_of(container: Path) -> Path:
    return container / "runs" / "one"


def begin(folder: Path, code: str) -> Process:
    rootfs = folder / "rootfs"
    rootfs.mkdir()
    argv = [sys.executable, "-c", code]
    env = {"PATH": os.environ["PATH"]}
    return process.start(run_of(folder), argv, cwd=rootfs, env=env, log=folder / "0.log")


async def said(folder: Path, words: str) -> None:
    async with asyncio.timeout(30):
        while words not in (folder / "0.log").read_text():  # noqa: ASYNC110 a file tells nobody
            await asyncio.sleep(0.02)


SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
POLITE = """
import signal, sys, time
signal.signal(15, lambda *_: sys.exit(7))
print('up', flush=True)
time.sleep(600)
"""


async def test_exit_code_and_output_are_kept(tmp_path: Path) -> None:
    running = begin(tmp_path, "print('hello'); raise SystemExit(3)")
    assert await running.wait() == 3
    assert (tmp_path / "0.log").read_text() == "hello\n"
    assert process.exit_code(run_of(tmp_path)) == 3


async def test_sigterm_lets_the_container_end_its_own_way(tmp_path: Path) -> None:
    running = begin(tmp_path, POLITE)
    await said(tmp_path, "up")
    assert await running.stop(30) == 7
    assert not running.running


async def test_who_ignores_sigterm_is_killed_with_all_children(tmp_path: Path) -> None:
    child = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid, flush=True)\n"
    running = begin(tmp_path, child + STUBBORN)
    await said(tmp_path, "up\nup")
    pid = int((tmp_path / "0.log").read_text().split()[0])
    assert await running.stop(0.2) == process.KILLED
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_adopted_container_still_tells_how_it_ended(tmp_path: Path) -> None:
    first = begin(tmp_path, POLITE)
    await said(tmp_path, "up")
    adopted = process.adopt(run_of(tmp_path))
    assert adopted is not None and adopted.pid == first.pid
    waiting = asyncio.ensure_future(adopted.wait())
    adopted.signal(signal.SIGTERM)
    assert await asyncio.wait_for(waiting, 30) == 7
    assert await first.wait() == 7
    assert process.adopt(run_of(tmp_path)) is None


async def test_a_reused_pid_is_not_taken_for_ours(tmp_path: Path) -> None:
    running = begin(tmp_path, SLEEPER)
    await said(tmp_path, "up")
    other = tmp_path / "another-pod" / "web" / "earlier"
    other.mkdir(parents=True)
    (other / "pid").write_text(str(running.pid))
    assert process.adopt(other) is None
    process.kill_leftover(other)
    ending = asyncio.ensure_future(running.wait())
    ended, _ = await asyncio.wait({ending}, timeout=0.5)
    assert not ended
    process.kill_leftover(run_of(tmp_path))
    assert await ending == process.KILLED


async def test_an_application_that_lost_its_shell_is_not_left_running(tmp_path: Path) -> None:
    running = begin(tmp_path, f"import os; print(os.getpid(), flush=True); {SLEEPER}")
    await said(tmp_path, "up")
    pid = int((tmp_path / "0.log").read_text().split()[0])
    os.kill(running.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while running.running:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert psutil.pid_exists(pid)
    assert process.adopt(run_of(tmp_path)) is None
    process.kill_leftover(run_of(tmp_path))
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await running.wait()
