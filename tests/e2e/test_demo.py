"""The demo itself: the whole path on real parts, once, and everything it leaves behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tidegate.demo.places import Places
from tidegate.demo.repositories import git
from tidegate.demo.world import ROOTFS
from tidegate.running.processes import MARK
from tidegate.sim.git_server import GitServer

pytestmark = pytest.mark.timeout(1200)
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Played:
    """A demo that is over."""

    places: Places
    code: int
    output: str
    left: list[str]
    """Command lines of processes it left running."""


def left_running(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get(MARK) == str(home / "logs") or env.get(ROOTFS, "").startswith(f"{home}/"):
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    state = tmp_path_factory.mktemp("state")
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "PREFECT_"))
    }
    if "TIDEGATE_PROMETHEUS" in os.environ:
        env["TIDEGATE_PROMETHEUS"] = os.environ["TIDEGATE_PROMETHEUS"]
    env |= {"CI": "true", "TIDEGATE_HOME": str(state)}
    done = subprocess.run(
        [BIN / "tidegate", "demo"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1100,
    )
    places = Places(state)
    return Played(places, done.returncode, done.stdout + done.stderr, left_running(places.home))


@pytest.fixture(scope="module")
def with_git(played: Played) -> Iterator[dict[str, str]]:
    """The demo's Git server again, where it was; the environment for commands."""
    text = played.places.env_file.read_text()
    env = {**os.environ, **dict(re.findall(r'export (\w+)="([^"]*)"', text)), "PATH": os.environ["PATH"]}
    url = git(played.places.fleet, "remote", "get-url", "origin")
    with GitServer(played.places.bare, int(url.rpartition(":")[2].partition("/")[0])):
        yield env


def tidegate(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "tidegate", *words], env=env, capture_output=True, text=True, timeout=120)


def log_of(played: Played, *words: str) -> list[str]:
    return git(played.places.bare / "fleet.git", "log", *words).splitlines()


def test_the_story_ends_as_it_should(played: Played) -> None:
    assert played.code == 0, played.output
    assert "Everything is as it should be" in played.output
    assert played.output.startswith("Prefect UI")


def test_nothing_is_left_running(played: Played) -> None:
    assert played.left == []


def test_the_config_repository_tells_the_story_by_itself(played: Played) -> None:
    lines = log_of(played, "main", "--reverse", "--format=%s")
    said = [line.split(" ")[0] + " … " + line.split(" ")[-1] for line in lines if "digits " in line]
    assert [line for line in lines if line.startswith("Promote")] != []
    assert [s.split(" ")[0] for s in said].count("Roll") == 1
    promoted_to = [line.rpartition(" to ")[2] for line in lines if line.startswith("Promote")]
    assert promoted_to == ["staging", "production"] * 3


def test_the_rendered_branch_holds_what_was_live_in_turn(played: Played) -> None:
    lines = log_of(
        played,
        "tidegate/digits/production",
        "--reverse",
        "--format=%(trailers:key=Tidegate-Release,valueonly)",
    )
    first, second, back, third = [line for line in lines if line]
    assert first == back
    assert len({first, second, third}) == 3


def test_the_bad_release_is_on_record_with_its_evidence(played: Played, with_git: dict[str, str]) -> None:
    done = tidegate(with_git, "history", "digits", "-o", "json")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert json.loads(text)
    for kind in ("release", "promotion", "shift", "verdict", "hold", "rollback", "sync"):
        assert f'"{kind}"' in text


def test_every_verdict_can_be_recomputed_from_its_record(played: Played, with_git: dict[str, str]) -> None:
    done = tidegate(with_git, "verify-ledger", "digits")
    assert done.returncode == 0, done.stdout + done.stderr
