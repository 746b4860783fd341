"""`tidegate up` as a person runs it: one command up, Ctrl-C down, and what dies in between comes back."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest

from tidegate.running.processes import answers

pytestmark = pytest.mark.timeout(600)

FLEET = """\
kind: Application
name: shop
source: {git: "http://127.0.0.1:9/shop.git"}
integrate:
  build: {kind: archive, image: "127.0.0.1:9/shop", entrypoint: [python, app.py]}
config: {git: "http://127.0.0.1:9/fleet.git"}
stages:
  - {name: staging, path: shop/staging, target: {kind: kubernetes, namespace: shop}}
"""


def until(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


@dataclass
class Running:
    """A `tidegate up` under test."""

    process: subprocess.Popen[bytes]
    out: Path
    env: dict[str, str]

    @property
    def said(self) -> str:
        return self.out.read_text()

    @property
    def api(self) -> str:
        found = re.search(r"UI\s+(http://\S+)", self.said)
        assert found
        return f"{found[1]}/api"

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def runner(self) -> psutil.Process | None:
        for child in self.children():
            with contextlib.suppress(psutil.Error):
                if "worker" in child.cmdline():
                    return child
        return None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("up")
    (folder / "fleet" / "apps").mkdir(parents=True)
    (folder / "fleet" / "apps" / "shop.yaml").write_text(FLEET)
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "PREFECT_"))
    }
    env |= {
        "TIDEGATE_HOME": str(folder / "home"),
        "TIDEGATE_FLEET": str(folder / "fleet"),
        "TIDEGATE_GIT_PROTOCOLS": "http",
        "PYTHONUNBUFFERED": "1",
    }
    out = folder / "out"
    with out.open("wb") as file:
        command = [sys.executable, "-m", "tidegate.running.up"]
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    found = Running(process, out, env)
    try:
        until(lambda: "runner is up" in found.said or process.poll() is not None)
        assert process.poll() is None, found.said
        yield found
    finally:
        process.terminate()
        process.wait(60)


def ask(url: str, body: object = None) -> Any:
    request = Request(
        url, json.dumps(body or {}).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_it_says_first_where_the_ui_is(running: Running) -> None:
    assert running.said.startswith("UI ")
    assert answers(f"{running.api}/health")


def test_the_flows_are_registered(running: Running) -> None:
    names = {found["name"] for found in ask(f"{running.api}/deployments/filter")}
    assert {"git-sync", "pipeline", "integrate", "deliver", "deploy", "rollback", "approve"} <= names


def test_sixteen_writers_at_once_are_all_served(running: Running) -> None:
    flow = ask(f"{running.api}/flows/", {"name": "written at once"})["id"]

    def write(number: int) -> str:
        run = ask(f"{running.api}/flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}})["id"]
        asked = {"state": {"type": "RUNNING", "name": f"number {number}"}, "force": True}
        return str(ask(f"{running.api}/flow_runs/{run}/set_state", asked)["status"])

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(write, range(64))) == {"ACCEPT"}  # an answer of 503 would have raised


def test_a_killed_runner_is_started_again(running: Running) -> None:
    first = running.runner()
    assert first is not None
    first.kill()
    until(lambda: running.runner() not in (None, first) and "runner had ended" in running.said)


def test_a_second_one_on_the_same_home_is_refused(running: Running) -> None:
    command = [sys.executable, "-m", "tidegate.running.up"]
    second = subprocess.run(command, env=running.env, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "already in use by another tidegate" in second.stderr


def test_ctrl_c_stops_everything_and_is_no_error(running: Running) -> None:
    children = running.children()
    assert len(children) == 3  # server, warm process, runner
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
