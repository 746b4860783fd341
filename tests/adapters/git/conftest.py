"""A real Git server over HTTP, mirrors in separate homes, and plain git as the other party."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.servers.fault_proxy import FaultProxy
from tidegate.adapters.git import Mirror
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Dev",
    "GIT_AUTHOR_EMAIL": "dev@example",
    "GIT_COMMITTER_NAME": "Dev",
    "GIT_COMMITTER_EMAIL": "dev@example",
}


def plain_git(*words: str, cwd: Path, stdin: bytes = b"", check: bool = True) -> str:
    """Plain git, as a user has it."""
    done = subprocess.run(
        ["git", *words], cwd=cwd, input=stdin, env=_ENVIRONMENT, capture_output=True, timeout=60
    )
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(errors="surrogateescape").strip()


class Clone:
    """Somebody's work tree."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        plain_git("clone", "--quiet", url, str(folder), cwd=folder.parent)

    def __call__(self, *words: str) -> str:
        return plain_git(*words, cwd=self.folder)

    def write(self, files: dict[str, bytes], message: str = "change", branch: str = "main") -> str:
        """Commits the files and pushes them."""
        if self("symbolic-ref", "--short", "HEAD") != branch:
            self("checkout", "-q", "-B", branch)
        for path, data in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(data)
        self("add", "-A")
        self("commit", "-q", "--allow-empty", "-m", message)
        self("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return self("rev-parse", "HEAD")


@pytest.fixture(name="git")
def _git() -> Callable[..., str]:
    """Plain git anywhere."""
    return plain_git


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A running server with one empty repository, `fleet`."""
    with GitServer(tmp_path / "served") as server:
        server.create("fleet")
        yield server


@pytest.fixture
def proxy(server: GitServer) -> Iterator[FaultProxy]:
    """The same server, behind something that breaks on command."""
    with FaultProxy(server.address) as proxy:
        yield proxy


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of one machine: `settings("home name", **overrides)`."""

    def make(home: str = "home", **overrides: Any) -> Settings:
        return Settings(
            **{"home": tmp_path / home, "git_protocols": "http", "git_timeout": 20.0, **overrides}
        )

    return make


@pytest.fixture
def mirror(server: GitServer, settings: Callable[..., Settings]) -> Mirror:
    """Our mirror of `fleet`."""
    return Mirror(server.url("fleet"), settings())


@pytest.fixture
def clone(server: GitServer, tmp_path: Path) -> Clone:
    """Another developer's clone of `fleet`."""
    return Clone(tmp_path / "clone", server.url("fleet"))


@pytest.fixture
def served(server: GitServer) -> Callable[..., str]:
    """Plain git in the served repository, the only judge of what was really pushed."""

    def run(*words: str, check: bool = True) -> str:
        return plain_git(*words, cwd=server.path("fleet"), check=check)

    return run
