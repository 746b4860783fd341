"""The three releases are real commits: the second is good in its own tests and bad for old scanners."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import pytest

from tidegate.demo.places import TEMPLATES, Places
from tidegate.demo.repositories import git, push_release
from tidegate.demo.visitor import OLD_SCANNERS, visits
from tidegate.running.processes import answers

if TYPE_CHECKING:
    from tests.demo.conftest import Repositories

IMAGES = Places(Path("/")).images


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """The service of a clone, as a process."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    env = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "POD_NAME": "digits-1"}
    app = subprocess.Popen([sys.executable, "-B", "app.py"], cwd=folder, env=env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not answers(f"http://127.0.0.1:{port}/healthz"):
            assert time.monotonic() < deadline, "the service does not answer"
            time.sleep(0.02)
        yield port
    finally:
        app.kill()
        app.wait()


def codes(port: int, count: int = 50) -> dict[bool, set[int]]:
    """Status codes of the first visits, by whether the scanner is an old one."""
    found: dict[bool, set[int]] = {True: set(), False: set()}
    for visit in islice(visits(IMAGES), count):
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("POST", "/predict", visit.message.partition(b"\r\n\r\n")[2])
            found[visit.old].add(connection.getresponse().status)
    return found


def own_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("number", "old_scanners_get"), [(1, 200), (2, 500), (3, 200)], ids=["first", "bad", "fixed"]
)
def test_every_release_passes_its_tests_and_only_the_second_fails_old_scanners(
    repositories: Repositories, number: int, old_scanners_get: int
) -> None:
    for each in range(1, number + 1):
        push_release(repositories.places.digits, each)
    result = own_tests(repositories.places.digits)
    assert result.returncode == 0, result.stdout
    with serving(repositories.places.digits) as port:
        assert codes(port) == {True: {old_scanners_get}, False: {200}}


def test_releases_reach_the_server_as_commits_of_a_developer(repositories: Repositories) -> None:
    pushed = [push_release(repositories.places.digits, number) for number in (1, 2, 3)]
    lines = git(
        repositories.server.path("digits"), "log", "--reverse", "--format=%H %an %s", "main"
    ).splitlines()
    assert lines == [f"{p.revision} Digits developer {p.subject}" for p in pushed]


def test_the_fleet_is_a_valid_specification(repositories: Repositories) -> None:
    from tidegate.spec import load

    (digits,) = load(repositories.places.fleet / "apps")
    assert [stage.name for stage in digits.stages] == ["staging", "production"]
    production = digits.stage("production")
    assert production.rollout is not None
    assert production.rollout.weights == (20, 50)
    assert production.gate is not None


def test_a_fixed_share_of_visitors_has_old_scanners_and_all_repeat_themselves() -> None:
    first, again = (list(islice(visits(IMAGES), 200)) for _ in range(2))
    assert first == again
    old, of = OLD_SCANNERS
    assert sum(visit.old for visit in first) == 200 * old // of
    pixels = json.loads(next(v for v in first if v.old).message.partition(b"\r\n\r\n")[2])["image"]
    assert all(isinstance(pixel, float) for pixel in pixels)


def test_no_placeholder_of_the_templates_is_unknown() -> None:
    names = {
        n for p in (TEMPLATES / "fleet").rglob("*.yaml") for n in Template(p.read_text()).get_identifiers()
    }
    assert names == {"GIT", "REGISTRY", "PROMETHEUS", "KUBECONFIG"}
