"""Credentials and the environment git runs in: secrets reach the server and nothing else."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.adapters.servers.fault_proxy import FaultProxy
from tidegate.adapters.git import Mirror
from tidegate.errors import OutsideError, Rejected, TidegateError
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

TOKEN = "tok/en+with %percent&secret=="
SPELLINGS = [
    TOKEN,
    quote(TOKEN),
    quote(TOKEN, safe=""),
    base64.b64encode(TOKEN.encode()).decode(),
    base64.b64encode(f"tidegate:{TOKEN}".encode()).decode(),
]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GitServer]:
    """A server that wants a token."""
    with GitServer(tmp_path / "guarded", credentials=("tidegate", TOKEN)) as server:
        server.create("fleet")
        yield server


def test_a_token_opens_the_repository(guarded: GitServer, settings: Callable[..., Settings]) -> None:
    mirror = Mirror(guarded.url("fleet"), settings(git_token=TOKEN))
    result = mirror.commit("main", lambda tree: {"a": b"1"}, "x")
    assert mirror.fetch("main") == {"main": result.sha}
    assert mirror.read(result.sha, "a") == b"1"


def test_credentials_in_the_url_work_and_are_kept_out_of_sight(
    guarded: GitServer, settings: Callable[..., Settings]
) -> None:
    url = guarded.url("fleet").replace("http://", f"http://tidegate:{quote(TOKEN, safe='')}@")
    mirror = Mirror(url, settings())
    assert mirror.commit("main", lambda tree: {"a": b"1"}, "x").pushed
    assert mirror.url_redacted == guarded.url("fleet")
    assert "tidegate:" not in repr(mirror)
    assert _found_in(settings().home) == []


def _found_in(folder: Path) -> list[Path]:
    needles = [spelling.encode() for spelling in SPELLINGS]
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_the_right_token_the_answer_says_what_helps(
    guarded: GitServer, settings: Callable[..., Settings], token: str | None
) -> None:
    mirror = Mirror(guarded.url("fleet"), settings(git_token=token))
    for call in (mirror.ls_remote, lambda: mirror.fetch("main"), lambda: mirror.commit("main", dict, "x")):
        with pytest.raises(Rejected) as caught:
            call()
        assert guarded.url("fleet") in str(caught.value)
        assert "TIDEGATE_GIT_TOKEN" in str(caught.value)


def test_secrets_are_nowhere_but_on_the_wire(
    guarded: GitServer, settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 46, git's part: files, command lines, log, errors with their causes."""
    caplog.set_level(logging.DEBUG)
    lines: list[str] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch_command_lines, args=(stop, lines))
    watcher.start()
    said: list[str] = []
    with FaultProxy(guarded.address) as proxy:
        mirror = Mirror(proxy.through(guarded.url("fleet")), settings(git_token=TOKEN))
        for number in range(3):
            mirror.commit("main", lambda tree, number=number: {"a": b"%d" % number}, "x", body="b")
        for fault in ("status:500", "status:403", "status:302", "reset", "reset_mid:10"):
            proxy.fail(fault, times=9)
            said += _what_is_said(mirror)
            proxy.heal()
    stop.set()
    watcher.join()
    wrong = Mirror(guarded.url("absent"), settings("other", git_token=TOKEN))
    said += _what_is_said(wrong)
    assert len(said) == 12
    assert lines
    for spelling in SPELLINGS:
        for text in (*lines, *said, caplog.text):
            assert spelling not in text
    assert _found_in(settings().home) == _found_in(settings("other").home) == []


def _what_is_said(mirror: Mirror) -> list[str]:
    said = []
    for call in (lambda: mirror.fetch("main"), lambda: mirror.commit("main", lambda tree: {"n": b"1"}, "x")):
        try:
            call()
        except TidegateError as error:
            said.append("".join(traceback.format_exception(error)) + repr(error))
    return said


def _watch_command_lines(stop: threading.Event, lines: list[str]) -> None:
    import psutil

    ours = psutil.Process()
    while not stop.is_set():
        for process in ours.children(recursive=True):
            try:
                lines.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        time.sleep(0.005)


def test_a_server_that_repeats_the_secret_does_not_get_it_into_our_messages(
    guarded: GitServer, settings: Callable[..., Settings]
) -> None:
    mirror = Mirror(guarded.url("fleet"), settings(git_token=TOKEN))
    hook = guarded.path("fleet") / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho 'no: {TOKEN} http://user:pw@host/'\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Rejected) as caught:
        mirror.commit("main", lambda tree: {"a": b"1"}, "x")
    assert "***" in str(caught.value)
    assert not any(text in str(caught.value) for text in (*SPELLINGS, "user:pw"))


def test_askpass_answers_only_for_its_own_host(settings: Callable[..., Settings]) -> None:
    from tidegate.adapters.git import access
    from tidegate.adapters.git.address import Address

    address = Address.parse("http://git.example:8080/x.git", "http")
    env = access.environment(address, settings(git_token=TOKEN), Path("/x"))

    def ask(prompt: str) -> str:
        done = subprocess.run([env["GIT_ASKPASS"], prompt], env=env, capture_output=True, text=True)
        return done.stdout.removesuffix("\n")

    assert ask("Username for 'http://git.example:8080': ") == "tidegate"
    assert ask("Password for 'http://tidegate@git.example:8080': ") == TOKEN
    for other in (
        "Password for 'http://tidegate@evil.example': ",
        "Password for 'http://xgit.example:8080': ",
        "?",
    ):
        assert ask(other) == ""


# -- the environment ---------------------------------------------------------------------------------------------


def test_nothing_inherited_changes_what_git_does(
    mirror: Mirror,
    clone: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., Settings],
) -> None:
    sha = clone.write({"a": b"1"})
    proof = tmp_path / "proof"
    evil = tmp_path / "evil"
    evil.mkdir()
    hook = evil / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {proof}\n")
    hook.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f'[core]\nhooksPath = {evil}\nfsmonitor = touch {proof}\n[url "http://127.0.0.1:1/"]\n'
                      f'insteadOf = {mirror.url_redacted}\n')  # fmt: skip
    for name, value in {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG": str(config),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(evil),
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath={evil}'",
        "GIT_DIR": str(clone.folder / ".git"),
        "GIT_WORK_TREE": str(clone.folder),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_SSH_COMMAND": f"touch {proof}",
        "GIT_ASKPASS": f"touch {proof}",
        "GIT_EXTERNAL_DIFF": f"touch {proof}",
        "GIT_TRACE": str(proof),
        "GIT_TRACE_CURL": str(proof),
        "GIT_PROXY_COMMAND": f"touch {proof}",
        "GIT_NAMESPACE": "elsewhere",
        "AWS_SECRET_ACCESS_KEY": "canary",
    }.items():
        monkeypatch.setenv(name, value)
    assert mirror.fetch("main") == {"main": sha}
    result = mirror.commit("main", lambda tree: {"a": b"2"}, "x")
    assert mirror.changed(sha, result.sha) == ("a",)
    mirror.export(result.sha, tmp_path / "out")
    assert not proof.exists()
    from tidegate.adapters.git import access
    from tidegate.adapters.git.address import Address

    env = access.environment(Address.parse(mirror.url_redacted, "http"), settings(), Path("/x"))
    assert "AWS_SECRET_ACCESS_KEY" not in env


def test_hooks_in_a_mirror_are_never_run(mirror: Mirror, clone: Any, tmp_path: Path) -> None:
    clone.write({"a": b"1"})
    mirror.fetch("main")
    hooks = mirror._store.path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "pre-push", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/proof\n")
        (hooks / name).chmod(0o755)
    assert mirror.commit("main", lambda tree: {"a": b"2"}, "x").pushed
    assert not (tmp_path / "proof").exists()


def test_git_itself_missing_is_said_so(
    server: GitServer, tmp_path: Path, settings: Callable[..., Settings]
) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tidegate.adapters.git import Mirror;"
        "from tidegate.settings import Settings; os.environ['PATH'] = '/nowhere'\n"
        "try: Mirror(sys.argv[1], Settings(home=Path(sys.argv[2]), git_protocols='http')).ls_remote()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    words = [sys.executable, "-c", script, server.url("fleet"), str(tmp_path / "home")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("OutsideError git: not installed"), done.stderr


# -- ssh ---------------------------------------------------------------------------------------------------------


def test_ssh_is_called_with_the_key_the_pinned_hosts_and_no_prompts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., Settings],
    clone: Any,
    server: GitServer,
) -> None:
    """Git's real ssh transport, with a stand-in for `ssh` that notes its arguments and runs the command here."""
    sha = clone.write({"a": b"1"})
    tools, key = tmp_path / "tools", tmp_path / "key with space"
    tools.mkdir()
    stand_in = tools / "ssh"
    stand_in.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    path = server.path("fleet")
    ours = settings(git_protocols="ssh", git_ssh_key=key, git_known_hosts=tmp_path / "known")
    mirror = Mirror(f"ssh://git@git.example:2222{path}", ours)
    assert mirror.fetch("main") == {"main": sha}
    arguments = (tmp_path / "arguments").read_text().split("\n")
    assert arguments[:2] == ["-F", os.devnull]
    assert arguments[arguments.index("-i") + 1] == str(key)
    options = [arguments[n + 1] for n, word in enumerate(arguments) if word == "-o"]
    for expected in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "IdentityAgent=none",
                     f"UserKnownHostsFile={tmp_path / 'known'}", "ForwardAgent=no"):  # fmt: skip
        assert expected in options
    assert "2222" in arguments
    assert "git@git.example" in arguments


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[tuple[int, Path, Path]]:
    """A real, unprivileged sshd on loopback: (port, client key, known hosts)."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin:" + os.environ["PATH"])
    if found is None:
        pytest.skip("sshd is not installed; the command line is covered by the test above")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "client"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(words, check=True, timeout=30)
    shutil.copy(tmp_path / "client.pub", tmp_path / "authorized")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    process = subprocess.Popen(
        [found, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL
    )
    public = (tmp_path / "host.pub").read_text().split()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    yield port, tmp_path / "client", tmp_path / "known"
    process.terminate()
    process.wait()


def test_a_key_opens_a_repository_over_ssh_and_only_a_known_host_is_spoken_to(
    sshd: tuple[int, Path, Path],
    clone: Any,
    server: GitServer,
    settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    import getpass

    port, key, known = sshd
    sha = clone.write({"a": b"1"})
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{server.path('fleet')}"
    mirror = Mirror(url, settings(git_protocols="ssh", git_ssh_key=key, git_known_hosts=known))
    assert mirror.fetch("main") == {"main": sha}
    assert mirror.commit("main", lambda tree: {"a": b"2"}, "over ssh").pushed
    (tmp_path / "empty").write_text("")
    for home, wrong in {
        "home2": {"git_ssh_key": key, "git_known_hosts": tmp_path / "empty"},
        "home3": {"git_ssh_key": tmp_path / "host", "git_known_hosts": known},
    }.items():
        with pytest.raises(Rejected, match="TIDEGATE_GIT_SSH_KEY"):
            Mirror(url, settings(home, git_protocols="ssh", **wrong)).ls_remote()


def test_the_disk_word_is_not_read_into_every_failure(mirror: Mirror) -> None:
    from tidegate.adapters.git.failures import DiskFull, failure

    assert isinstance(failure("x", "fatal: write error: No space left on device"), DiskFull)
    assert type(failure("x", "fatal: something new")).__mro__[1] is OutsideError
