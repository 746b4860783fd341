"""`python -m tidegate.sim` as a process: stopped, killed, started again on the same folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sim.cluster.embedded import PATIENCE, Shell, deployment, push_server, service, until

Get = Callable[[str], str]


class Running:
    """The cluster process of one home, started as often as a test likes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}

    def start(self) -> Shell:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tidegate.sim", "--home", str(self.home)],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.ready = json.loads(line)
        return Shell(Path(self.ready["kubeconfig"]))

    def end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path / "home")
    try:
        yield found
    finally:
        found.end(signal.SIGTERM)
        subprocess.run(
            [sys.executable, "-m", "tidegate.sim", "--home", str(found.home), "--clean"], check=True
        )
        assert processes_under(found.home) == []


def processes_under(home: Path) -> list[psutil.Process]:
    """Everything whose command line or folder lies under `home`."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        words = " ".join(process.info["cmdline"] or []) + " " + (process.info["cwd"] or "")
        if (
            str(home) in words
            and process.info["status"] != psutil.STATUS_ZOMBIE
            and process.pid != os.getpid()
        ):
            found.append(process)
    return found


def servers_under(home: Path) -> list[int]:
    """The pids of the applications themselves, without the shells they run behind."""
    commands = [(p.pid, p.info["cmdline"]) for p in processes_under(home / "node")]
    return sorted(pid for pid, words in commands if words[1:] and words[1].endswith("server.py"))


def pods(kubectl: Shell) -> dict[str, Any]:
    found = kubectl.get("pods")["items"]
    return {p["metadata"]["uid"]: p for p in found}


def all_ready(kubectl: Shell, count: int) -> bool:
    found = pods(kubectl).values()
    ready = [c["status"] for p in found for c in p["status"].get("conditions", []) if c["type"] == "Ready"]
    return ready == ["True"] * count


def test_a_killed_cluster_comes_back_with_the_same_pods_and_none_twice(running: Running, web: Get) -> None:
    kubectl = running.start()
    image = push_server(running.ready["registry"])
    kubectl.apply(deployment("web", image, 3), service("web", {"app": "web"}))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    before, first = pods(kubectl), dict(running.ready)
    served = servers_under(running.home)
    assert len(served) == 3
    address = kubectl.get("service", "web")["metadata"]["annotations"]["tidegate.dev/local-address"]
    running.end(signal.SIGKILL)
    assert servers_under(running.home) == served, "pods outlive the agent"

    kubectl = running.start()
    assert {k: running.ready[k] for k in ("url", "registry")} == {k: first[k] for k in ("url", "registry")}
    until(lambda: all_ready(kubectl, 3), "the pods are ready again")
    assert pods(kubectl).keys() == before.keys()
    assert servers_under(running.home) == served, "adopted, not started a second time"
    assert [p["status"]["containerStatuses"][0]["restartCount"] for p in pods(kubectl).values()] == [0, 0, 0]
    until(
        lambda: len({web(f"http://{address}/") for _ in range(20)}) == 3, "the Service answers where it did"
    )
    # The adopted ones are still ours to stop and to learn the end of.
    os.kill(served[0], signal.SIGKILL)
    until(lambda: sorted(restarts(kubectl)) == [0, 0, 1], "the container that died is started again")
    until(lambda: all_ready(kubectl, 3), "all are ready")
    kubectl("delete", "deployment", "web", "--wait=false")
    until(lambda: not servers_under(running.home), "every process has gone")


def restarts(kubectl: Shell) -> list[int]:
    return [
        s["restartCount"] for p in pods(kubectl).values() for s in p["status"].get("containerStatuses", [])
    ]


def test_pods_that_were_deleted_or_died_while_nobody_looked_are_settled_at_the_start(
    running: Running,
) -> None:
    kubectl = running.start()
    image = push_server(running.ready["registry"])
    kubectl.apply(deployment("web", image, 2))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    before = pods(kubectl).keys()
    running.end(signal.SIGKILL)
    os.kill(servers_under(running.home)[0], signal.SIGKILL)
    kubectl = running.start()
    until(lambda: all_ready(kubectl, 2) and len(servers_under(running.home)) == 2, "two pods serve again")
    assert pods(kubectl).keys() == before
    assert sorted(restarts(kubectl)) == [0, 1]


def test_sigterm_leaves_no_process_behind_and_the_next_start_serves_again(running: Running, web: Get) -> None:
    kubectl = running.start()
    image = push_server(running.ready["registry"])
    kubectl.apply(deployment("web", image, 2), service("web", {"app": "web"}))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    before = pods(kubectl).keys()
    running.end(signal.SIGTERM)
    assert processes_under(running.home) == []
    kubectl = running.start()
    address = kubectl.get("service", "web")["metadata"]["annotations"]["tidegate.dev/local-address"]
    until(lambda: all_ready(kubectl, 2) and len(servers_under(running.home)) == 2, "two pods serve again")
    assert pods(kubectl).keys() == before
    until(lambda: web(f"http://{address}/").startswith("web"), "the Service answers")


def test_one_home_is_one_cluster(running: Running) -> None:
    running.start()
    second = subprocess.run(
        [sys.executable, "-m", "tidegate.sim", "--home", str(running.home)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "already runs here" in second.stderr
