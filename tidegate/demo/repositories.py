"""The two repositories of the story: `digits` with its three releases, and `fleet`: what runs where."""

from __future__ import annotations

import os
import shutil
import subprocess  # nosec B404
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tidegate.demo.places import TEMPLATES
from tidegate.errors import OutsideError

DEVELOPER = ("Digits developer", "developer@digits.example")
GIT_SECONDS = 25
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".ruff_cache", "*.pyc")


@dataclass(frozen=True, slots=True)
class Pushed:
    """A commit that has just reached the Git server."""

    revision: str
    subject: str


def git(folder: Path, *words: str) -> str:
    """One git command with nothing of the user's configuration; `OutsideError` with git's own words."""
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    done = subprocess.run(  # nosec B603 B607
        ["git", "-C", str(folder), *words],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GIT_SECONDS,
    )
    if done.returncode:
        raise OutsideError(f"git {words[0]} in {folder.name}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _start(folder: Path, remote: str) -> None:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", DEVELOPER[0])
    git(folder, "config", "user.email", DEVELOPER[1])
    git(folder, "remote", "add", "origin", remote)


def _push(folder: Path) -> Pushed:
    git(folder, "push", "--quiet", "--set-upstream", "origin", "main")
    revision, _, subject = git(folder, "log", "-1", "--format=%H %s").partition(" ")
    return Pushed(revision, subject)


def create_fleet(folder: Path, remote: str, values: Mapping[str, str]) -> Pushed:
    """The config repository: specs and manifests with this machine's addresses filled in, pushed."""
    shutil.copytree(TEMPLATES / "fleet", folder, ignore=_LEFT_OUT)
    for path in sorted(folder.rglob("*.yaml")):
        path.write_text(Template(path.read_text()).substitute(values))
    _start(folder, remote)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Say where digits runs")
    return _push(folder)


def create_digits(folder: Path, remote: str) -> None:
    """The developer's clone of the source repository, with nothing committed yet."""
    shutil.copytree(TEMPLATES / "digits", folder, ignore=_LEFT_OUT)
    _start(folder, remote)


def push_release(folder: Path, number: int) -> Pushed:
    """Commit and push release 1, 2 or 3, in this order."""
    if number == 1:
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Recognise handwritten digits")
    else:
        git(folder, "am", "--quiet", "--ignore-date", str(TEMPLATES / "releases" / f"{number}.patch"))
    return _push(folder)
