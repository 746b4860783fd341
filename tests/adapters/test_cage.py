"""A tool that renders is a stranger's program: what it is given, what it cannot reach, and how it is stopped."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.adapters.renderers import kustomize
from tidegate.adapters.renderers._cage import Cage, Limits, cage
from tidegate.adapters.renderers._confined import Ended, Tool, run, scratch
from tidegate.errors import PluginError, Rejected, SpecError
from tidegate.settings import settings

FILES = {"prod/kustomization.yaml": b"resources: [a.yaml]\n", "prod/a.yaml": b"hunter2\n"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can take these rights away")


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Tool]:
    """A tool of our own making."""

    def make(text: str) -> Tool:
        path = tmp_path / "tool"
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return Tool("tool", str(path), path.stat().st_mtime_ns)

    return make


@pytest.fixture
def fake(script: Callable[[str], Tool], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A kustomize of our own making."""

    def make(text: str) -> None:
        monkeypatch.setenv("TIDEGATE_KUSTOMIZE", script(text).path)
        settings.cache_clear()

    yield make
    monkeypatch.undo()
    settings.cache_clear()


def start(tool: Tool, *arguments: str, timeout: float = 20, limits: Limits | None = None) -> Ended:
    with scratch(FILES) as space:
        return run(tool, arguments, space, timeout=timeout, limits=limits)


def render(timeout: float = 20) -> list[dict[str, dict[str, str]]]:
    return kustomize.build(kustomize.Settings(timeout=timeout)).render(FILES, "prod")


def test_the_child_sees_no_environment_of_ours(
    fake: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    fake(
        "echo 'apiVersion: v1'; echo 'kind: ConfigMap'; echo 'metadata: {name: a}'; echo 'data:'\n"
        "env | sed \"s/'//g; s/^\\([^=]*\\)=\\(.*\\)/  \\1: '\\2'/\""
    )
    (made,) = render()
    seen = made["data"]
    assert "canary" not in str(seen)
    assert seen["HOME"] != os.environ["HOME"]
    assert seen["HTTPS_PROXY"] == "http://127.0.0.1:9"


def test_a_child_that_hangs_is_killed_with_its_children(fake: Callable[[str], None], tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    fake(f"(while :; do date > {alive}; sleep 0.1; done) &\nsleep 60")
    start = time.monotonic()
    with pytest.raises(Rejected, match=r"prod: kustomize did not end within 0\.5 s; is there a loop"):
        render(timeout=0.5)
    assert time.monotonic() - start < 1.5
    before = alive.read_text() if alive.exists() else ""
    time.sleep(0.3)
    assert (alive.read_text() if alive.exists() else "") == before


def test_a_child_that_writes_for_ever_is_stopped(fake: Callable[[str], None]) -> None:
    fake("exec yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    with pytest.raises(Rejected, match="prod: kustomize wrote more than 10 MiB; split the set"):
        render()


def test_a_child_that_complains_for_ever_is_cut_short(fake: Callable[[str], None]) -> None:
    fake("yes 'no such base' | head -n 100000 >&2; exit 1")
    with pytest.raises(Rejected, match="kustomize failed: no such base; no such base") as caught:
        render()
    assert len(str(caught.value)) < 2100


@linux
def test_a_fork_bomb_ends_with_its_first_process(script: Callable[[str], Tool]) -> None:
    bomb = script('if [ "$1" = more ]; then while :; do "$0" more & done; else "$0" more; fi')
    began = time.monotonic()
    with pytest.raises(
        Rejected, match=r"tool (started more than 20 processes; a render needs one|did not end)"
    ):
        start(bomb, timeout=5, limits=Limits(processes=20))
    assert time.monotonic() - began < 6
    if cage().offline:
        assert not any(bomb.path in words for words in _command_lines())


def _command_lines() -> Iterator[str]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield each.read_bytes().decode(errors="replace")
        except OSError:
            continue


@linux
def test_a_child_that_flees_its_session_ends_all_the_same(script: Callable[[str], Tool]) -> None:
    if not cage().offline:
        pytest.skip("no namespaces here, so a process that leaves the session is not found")
    start(script("setsid sleep 4321.5 &"))
    assert not any("4321.5" in words for words in _command_lines())


@linux
def test_memory_is_bounded(script: Callable[[str], Tool]) -> None:
    hungry = script("head -c 300000000 /dev/zero | tail | wc -c")
    with pytest.raises(Rejected, match=r"tool needs more than 0\.062 GiB of memory; split the set"):
        start(hungry, limits=Limits(resident=2**26))


def test_time_on_the_processor_is_bounded(script: Callable[[str], Tool]) -> None:
    with pytest.raises(Rejected, match="tool used more than 1 s of CPU"):
        start(script("while :; do :; done"), limits=Limits(cpu=1))


@linux
def test_there_is_no_network(script: Callable[[str], Tool]) -> None:
    if not cage().offline:
        pytest.skip("no namespaces here; proxies that lead nowhere must do")
    assert start(script("grep -c eth /proc/net/dev; exit 0")).output in (b"", b"0\n")


@linux
def test_nothing_can_be_written_and_only_the_input_read(
    script: Callable[[str], Tool], tmp_path: Path
) -> None:
    if not cage().landlock:
        pytest.skip("this kernel has no Landlock")
    secret = tmp_path / "secret"
    secret.write_text("hunter3")
    ended = start(
        script(
            f"echo x > {tmp_path}/made; echo x > $HOME/made; ln -s / $HOME/root; cat {secret} /etc/passwd;"
            f" cat /proc/{os.getpid()}/environ; ls {tmp_path}; cat ../tree/prod/a.yaml"
        )
    )
    assert ended.output == b"hunter2\n"
    assert not (tmp_path / "made").exists()
    assert ended.words.count("Permission denied") + ended.words.count("cannot") >= 6


def test_without_anything_of_linux_the_limits_still_hold(script: Callable[[str], Tool]) -> None:
    """What other systems get, and containers that allow nothing."""
    bare = Cage(landlock=0, namespaces=False, unshare=None, setpriv=None)
    assert not bare.offline
    with scratch(FILES) as space:
        import threading

        over = threading.Event()
        with (space.root / "output").open("wb") as output:
            child = bare.start(
                [script("ulimit -n").path],
                readable=(),
                limits=Limits(files=99),
                cwd=space.home,
                env={},
                stdout=output,
                stderr=output,
                over=over,
            )
            assert child.wait(10) == 0
        over.set()


def test_our_own_process_keeps_its_rights(script: Callable[[str], Tool], tmp_path: Path) -> None:
    assert start(script("echo fine")).output == b"fine\n"
    (tmp_path / "mine").write_text("x")
    assert (tmp_path / "mine").read_text() == "x"
    assert len(list(Path("/proc").glob("[0-9]*"))) > 2 or sys.platform != "linux"


def test_paths_that_leave_the_folder_are_never_written() -> None:
    for path in ("../x", "/etc/x", "a/../../x", "a\0b"):
        with pytest.raises(SpecError, match="leaves the repository"), scratch({path: b""}):
            pass


def test_the_version_is_what_the_tool_says(script: Callable[[str], Tool]) -> None:
    assert script("echo v5.8.1").version == "v5.8.1"
    with pytest.raises(PluginError, match=r"does not tell its version \(no\); name the tool binary itself"):
        script("echo no >&2; exit 3").version  # noqa: B018
