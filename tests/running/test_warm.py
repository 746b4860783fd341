"""Flow runs begun by a warm process: what they are told, how they end, and that nothing outlives who asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tidegate.running.engine import PLACE

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere runs start cold"),
]
A_RUN = "00000000-0000-4000-8000-000000000001"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@dataclass(frozen=True)
class Warm:
    """A warm process, and a Prefect API that takes questions and never answers."""

    process: subprocess.Popen[bytes]
    env: dict[str, str]
    folder: Path

    def ask(self, run: str, cwd: Path | None = None, **more: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tidegate.running.engine", run]
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(words, env={**self.env, **more}, stdout=said, stderr=said, cwd=cwd)

    def said(self, asking: subprocess.Popen[bytes]) -> str:
        """What it wrote, once it has ended with code 1."""
        assert asking.wait(60) == 1
        return (self.folder / "said").read_text()

    def forks(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def asked(self) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        """A run that hangs, and its fork."""
        asking = self.ask(A_RUN)
        until(lambda: len(self.forks()) == 1)
        return asking, self.forks()[0]


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = tmp_path / "warm.sock"
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        api = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        env |= {PLACE: str(place), "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": api}
        process = subprocess.Popen([sys.executable, "-m", "tidegate.running.warm", str(place)], env=env)
        try:
            until(lambda: place.exists() or process.poll() is not None)
            yield Warm(process, env, tmp_path)
        finally:
            process.kill()
            process.wait()


def test_a_run_writes_to_who_asked_and_ends_with_its_exit_code(warm: Warm) -> None:
    elsewhere = warm.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "prefect.py").touch()  # who starts cold here imports this one
    assert "Invalid flow run id" in warm.said(warm.ask("no-id", cwd=elsewhere))


@pytest.mark.parametrize("why", [{PLACE: "nobody-there"}, {"PYTHONPATH": "elsewhere"}])
def test_a_run_that_no_warm_process_fits_starts_by_itself(warm: Warm, why: dict[str, str]) -> None:
    asking = warm.ask(A_RUN, **why)
    until(lambda: "prefect.engine" in psutil.Process(asking.pid).cmdline())
    assert not warm.forks()
    asking.kill()
    asking.wait()


def test_a_signal_reaches_the_fork_and_its_end_is_passed_back(warm: Warm) -> None:
    asking, fork = warm.asked()
    asking.send_signal(signal.SIGTERM)
    assert asking.wait(60) == -signal.SIGTERM
    assert not fork.is_running()


def test_a_fork_dies_with_who_asked_for_it(warm: Warm) -> None:
    asking, fork = warm.asked()
    asking.kill()
    asking.wait()
    until(lambda: not fork.is_running())
    assert warm.process.poll() is None


def test_everything_ends_with_the_warm_process(warm: Warm) -> None:
    asking, fork = warm.asked()
    warm.process.kill()
    assert asking.wait(60) == -signal.SIGKILL
    until(lambda: not fork.is_running() or fork.status() == psutil.STATUS_ZOMBIE)


def test_two_runs_at_once_have_a_fork_each(warm: Warm) -> None:
    both = [warm.ask(A_RUN), warm.ask(A_RUN)]
    until(lambda: len(warm.forks()) == 2)
    for asking in both:
        asking.terminate()
    assert [asking.wait(60) for asking in both] == [-signal.SIGTERM] * 2


def test_only_our_own_user_may_ask(warm: Warm) -> None:
    assert Path(warm.env[PLACE]).stat().st_mode & 0o777 == 0o600
