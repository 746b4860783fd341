"""The Git server for trying out: plain git against it, as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import OutsideError
from tidegate.sim.git_server import GitServer


def test_push_and_clone_with_plain_git(
    server: GitServer, clone: Any, tmp_path: Path, git: Callable[..., str]
) -> None:
    sha = clone.write({"a": b"1"})
    git("clone", "-q", server.url("fleet"), "again", cwd=tmp_path)
    assert git("rev-parse", "HEAD", cwd=tmp_path / "again") == sha
    assert git("symbolic-ref", "HEAD", cwd=tmp_path / "again") == "refs/heads/main"


def test_large_packs_are_streamed_both_ways(
    server: GitServer, clone: Any, tmp_path: Path, git: Callable[..., str]
) -> None:
    """Over 1 MB git sends chunks without a length."""
    data = os.urandom(5_000_000)
    clone.write({"large": data})
    git("clone", "-q", server.url("fleet"), "again", cwd=tmp_path)
    assert (tmp_path / "again/large").read_bytes() == data


def test_compressed_questions_are_understood(
    server: GitServer, tmp_path: Path, git: Callable[..., str]
) -> None:
    """Git compresses what it asks when that is long: here sixty branches are wanted."""
    stream = b"".join(
        b"commit refs/heads/b%d\ncommitter a <a@b> %d +0000\ndata 0\n\n" % (number, number)
        for number in range(60)
    )
    git("fast-import", "--quiet", cwd=server.path("fleet"), stdin=stream)
    for version in ("0", "2"):
        git(
            "-c",
            f"protocol.version={version}",
            "clone",
            "-q",
            server.url("fleet"),
            f"v{version}",
            cwd=tmp_path,
        )
        assert len(git("branch", "-r", cwd=tmp_path / f"v{version}").splitlines()) == 60
    assert "gzip" in {request.coding for request in server.requests}


def test_twenty_clients_at_once(
    server: GitServer, clone: Any, tmp_path: Path, git: Callable[..., str]
) -> None:
    clone.write({str(number): os.urandom(1000) for number in range(100)})

    def one(number: int) -> str:
        git("clone", "-q", server.url("fleet"), f"c{number}", cwd=tmp_path)
        return git("rev-parse", "HEAD", cwd=tmp_path / f"c{number}")

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(one, range(20))) == {clone("rev-parse", "HEAD")}
    assert not server.running


def test_authentication_is_asked_for_and_checked(tmp_path: Path, git: Callable[..., str]) -> None:
    with GitServer(tmp_path / "served", credentials=("me", "s3cret")) as server:
        server.create("fleet")
        for url in (server.url("fleet"), server.url("fleet").replace("//", "//me:wrong@")):
            with pytest.raises(AssertionError):
                git("-c", "core.askPass=true", "ls-remote", url, cwd=tmp_path)
        git("ls-remote", server.url("fleet").replace("//", "//me:s3cret@"), cwd=tmp_path)
        assert "s3cret" not in server.url("fleet")
        assert [request.user for request in server.requests if request.status == 200][-1] == "me"


@pytest.mark.parametrize(
    "path", ["/../secret.git", "/%2e%2e/secret.git", "/fleet.git/config", "/fleet.git/../../etc"]
)
def test_nothing_but_repositories_below_the_root_is_served(
    server: GitServer, tmp_path: Path, path: str
) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "secret.git")], check=True)
    for rest in ("", "/info/refs?service=git-upload-pack", "/HEAD"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.address + path + rest, timeout=10)
        assert caught.value.code in (400, 403, 404, 500)
        caught.value.close()


def test_a_name_outside_of_the_root_is_refused(server: GitServer) -> None:
    with pytest.raises(OutsideError, match="outside"):
        server.create("../elsewhere")


def test_creating_twice_keeps_what_is_there(server: GitServer, clone: Any, git: Callable[..., str]) -> None:
    sha = clone.write({"a": b"1"})
    assert git("rev-parse", "main", cwd=server.create("fleet")) == sha


def test_it_comes_back_on_the_same_port(server: GitServer, clone: Any) -> None:
    clone.write({"a": b"1"})
    url = server.url("fleet")
    server.stop()
    assert server.start().url("fleet") == url
    clone("fetch", "-q")


def test_as_a_process_it_says_where_it_is_and_ends_on_sigterm(
    tmp_path: Path, git: Callable[..., str]
) -> None:
    words = [
        sys.executable,
        "-m",
        "tidegate.sim.git_server",
        "--root",
        str(tmp_path / "served"),
        "--create",
        "digits",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert git("ls-remote", ready["repositories"]["digits"], cwd=tmp_path) == ""
        assert ready["repositories"]["digits"] == f"{ready['url']}/digits.git"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
