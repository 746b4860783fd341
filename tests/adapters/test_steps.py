"""A step of CI: what it sees, what it may use, how it ends, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tidegate.adapters import steps_child
from tidegate.adapters.steps import LINE, Step, StepResult, parse_size, run
from tidegate.errors import SpecError

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us adopt orphans")


def sh(script: str, tmp_path: Path, **kwargs: object) -> Step:
    return Step("test", ("sh", "-c", script), tmp_path, **kwargs)  # type: ignore[arg-type]


def alive(marker: str) -> list[int]:
    """Processes whose command line has the marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(marker in part for part in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def lines_of(step: Step, **kwargs: object) -> tuple[StepResult, list[str]]:
    lines: list[str] = []
    return run(step, on_line=lines.append, **kwargs), lines  # type: ignore[arg-type]


def test_a_step_sees_only_the_environment_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_GIT_TOKEN", "t0ken-of-ours")
    result, lines = lines_of(sh("env", tmp_path, env={"SHOP": "open"}))
    names = {line.partition("=")[0] for line in lines}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "HOME", "LANG", "TMPDIR", "SHOP"}
    assert result.passed
    assert result.reason == "exit 0"


def test_home_and_tmpdir_are_empty_and_vanish(tmp_path: Path) -> None:
    _, lines = lines_of(sh("echo $HOME; ls -A $HOME; ls -A $TMPDIR; touch $TMPDIR/left", tmp_path))
    assert lines[1:] == ["tmp"]
    assert not Path(lines[0]).exists()


def test_python_is_the_one_of_our_own_environment(tmp_path: Path) -> None:
    step = Step("test", ("python", "-c", "import sys; print(sys.prefix)"), tmp_path)
    assert lines_of(step)[1] == [sys.prefix]


def test_the_exit_code_is_the_answer(tmp_path: Path) -> None:
    result = run(sh("exit 3", tmp_path))
    assert (result.code, result.reason, result.passed) == (3, "exit 3", False)


def test_a_command_that_does_not_exist_is_an_answer(tmp_path: Path) -> None:
    result = run(Step("test", ("no-such-tool", "x"), tmp_path))
    assert (result.code, result.reason) == (127, "cannot start 'no-such-tool': command not found")


def test_a_folder_that_does_not_exist_is_an_answer(tmp_path: Path) -> None:
    result = run(Step("test", ("true",), tmp_path / "gone"))
    reason = f"cannot start 'true': folder '{tmp_path}/gone': No such file or directory"
    assert (result.code, result.reason) == (127, reason)


def test_a_relative_folder_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert lines_of(sh("pwd", Path("here")))[1] == [str(tmp_path / "here")]


def test_standard_input_is_empty(tmp_path: Path) -> None:
    assert lines_of(sh("cat; echo end", tmp_path))[1] == ["end"]


def test_output_comes_while_the_step_runs(tmp_path: Path) -> None:
    go = tmp_path / "go"
    seen: list[str] = []

    def look(line: str) -> None:
        seen.append(line)
        go.touch()

    script = "echo first; while ! test -e go; do sleep 0.02; done; echo second"
    result = run(sh(script, tmp_path, timeout=timedelta(seconds=20)), on_line=look)
    assert seen == ["first", "second"]
    assert result.passed


def test_secrets_are_masked_in_lines_tail_and_across_writes(tmp_path: Path) -> None:
    script = "printf 'a hunt'; sleep 0.2; printf 'er2-secret b\\n'; printf hunter2-secret | base64 >&2"
    result, lines = lines_of(sh(script, tmp_path), secrets=["hunter2-secret"])
    assert lines == ["a *** b", "***"]
    assert result.tail == "a *** b\n***"


def test_a_secret_in_the_command_is_masked_in_the_reason(tmp_path: Path) -> None:
    result = run(Step("test", ("/nowhere/hunter2-secret",), tmp_path), secrets=["hunter2-secret"])
    assert "hunter2" not in result.reason


def test_long_lines_are_cut_and_much_output_is_shown_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.adapters.steps.OUTPUT", 2_000_000)
    script = "head -c 300000000 /dev/zero | tr '\\0' x; echo; yes line | head -n 1000000; echo last"
    before = psutil.Process().memory_info().rss
    result, lines = lines_of(sh(script, tmp_path))
    assert len(lines[0]) <= LINE + 20
    assert lines[0].endswith("(line cut)")
    assert lines[-1].startswith("… output limit of 2 MB reached")
    assert result.tail.endswith("\nlast")
    assert psutil.Process().memory_info().rss - before < 60_000_000


def test_a_step_that_takes_too_long_is_asked_then_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 7123; done"
    result = run(sh(script, tmp_path, timeout=timedelta(seconds=0.5)))
    assert result.reason == "timed out after 0.5s"
    assert result.seconds < 5
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert alive("7123") == []


def test_a_step_may_clean_up_when_it_is_asked_to_end(tmp_path: Path) -> None:
    script = "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    result, lines = lines_of(sh(script, tmp_path, timeout=timedelta(seconds=1)))
    assert lines[-1] == "cleaned"
    assert result.reason == "timed out after 1s"
    assert not result.passed


def test_cancelling_ends_the_step_at_once(tmp_path: Path) -> None:
    cancelled = threading.Event()
    result = run(sh("echo up; sleep 7124", tmp_path), on_line=lambda _: cancelled.set(), cancelled=cancelled)
    assert result.reason == "cancelled"
    assert result.seconds < 2
    assert alive("7124") == []


def test_what_a_step_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    result = run(sh("sleep 7125 & sleep 7125 & echo done", tmp_path))
    assert result.passed
    assert result.seconds < 5
    assert alive("7125") == []


@linux
def test_what_left_the_process_group_is_found(tmp_path: Path) -> None:
    result = run(sh("setsid sh -c 'setsid sleep 7126 & sleep 7126' & sleep 0.2; echo done", tmp_path))
    assert result.passed
    assert alive("7126") == []


@linux
def test_a_step_that_kills_its_small_parent_still_ends(tmp_path: Path) -> None:
    result = run(sh("kill -9 $PPID; sleep 7127", tmp_path))
    assert not result.passed
    assert alive("7127") == []


def test_an_exception_of_the_reader_leaves_nothing_running(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="up"):
        run(sh("echo up; sleep 7128", tmp_path), on_line=refuse)
    assert alive("7128") == []


def test_when_the_process_that_asked_is_killed_the_step_ends(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tidegate.adapters.steps import Step, run\n"
        "run(Step('t', ('sh', '-c', 'echo up; sleep 7129'), Path('.')), on_line=lambda l: print(l, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"up\n"
        asking.send_signal(signal.SIGKILL)
        asking.wait()
    deadline = time.monotonic() + 10
    while alive("7129") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive("7129") == []


def test_when_the_process_that_asked_is_gone_before_the_step_began_the_step_ends(tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    step = {"argv": ["sh", "-c", "sleep 7131 & sleep 7131"], "cwd": str(tmp_path), "env": dict(os.environ)}
    plan.write_text(json.dumps({**step, "stdout": None, "memory": 1 << 30, "processes": 100}))
    life, report = os.pipe(), os.pipe()
    for end in (life[1], report[0]):
        os.close(end)
    argv = [sys.executable, str(Path(steps_child.__file__))]
    with plan.open() as stream:
        fds = (stream.fileno(), life[0], report[1])
        child = subprocess.run([*argv, *map(str, fds)], pass_fds=fds, capture_output=True, timeout=30)
    for end in (life[0], report[1]):
        os.close(end)
    assert (child.returncode, child.stderr) == (0, b"")
    assert alive("7131") == []


@linux
def test_one_process_that_wants_too_much_memory_is_told_no(tmp_path: Path) -> None:
    step = Step("test", ("python", "-c", "bytearray(600 << 20)"), tmp_path, memory="256Mi")
    assert run(step).reason == "exit 1, out of memory (limit 256Mi)"


def test_processes_that_together_want_too_much_memory_are_killed(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        kept = b'x' * (100 << 20); time.sleep(60); os._exit(0)\n"
        "time.sleep(60)\n"
    )
    step = Step("test", ("python", "-c", program), tmp_path, memory="200Mi", timeout=timedelta(seconds=30))
    result = run(step)
    assert result.reason == "killed: memory (limit 200Mi)"
    assert result.seconds < 20


def test_shared_memory_of_forks_is_counted_once(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "kept = b'x' * (100 << 20)\n"
        "pids = [os.fork() for _ in range(1)]\n"
        "if 0 in pids: time.sleep(1.5); os._exit(0)\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(1.5); os._exit(0)\n"
        "os.wait(); os.wait()\n"
    )
    result = run(Step("test", ("python", "-c", program), tmp_path, memory="200Mi"))
    assert result.reason == "exit 0"


def test_too_many_processes_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.adapters.steps.PROCESSES", 40)
    script = "for i in $(seq 80); do sleep 7130 & done; wait"
    result = run(sh(script, tmp_path, timeout=timedelta(seconds=30)))
    assert not result.passed
    assert result.seconds < 20
    assert alive("7130") == []


def test_a_crash_names_the_signal_and_leaves_no_core(tmp_path: Path) -> None:
    result = run(sh("ulimit -c; kill -SEGV $$", tmp_path))
    assert (result.code, result.reason, result.tail) == (-signal.SIGSEGV, "killed: SIGSEGV", "0")
    assert list(tmp_path.iterdir()) == []


def test_machine_readable_output_goes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    _, lines = lines_of(sh("echo '{}'; echo note >&2", tmp_path, stdout=file))
    assert lines == ["note"]
    assert file.read_text() == "{}\n"


def test_no_thread_and_no_open_file_is_left(tmp_path: Path) -> None:
    run(sh("true", tmp_path))
    threads, files = threading.active_count(), len(os.listdir("/dev/fd"))
    for _ in range(5):
        run(sh("echo x", tmp_path))
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == (threads, files)


def test_steps_run_side_by_side_in_threads(tmp_path: Path) -> None:
    results: list[StepResult] = []
    work = [
        threading.Thread(target=lambda n=n: results.append(run(sh(f"echo {n}; exit {n}", tmp_path))))
        for n in range(8)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert sorted((r.code, r.tail) for r in results) == [(n, str(n)) for n in range(8)]


@pytest.mark.parametrize(
    ("text", "size"), [("512Mi", 512 << 20), ("2Gi", 2 << 30), ("1G", 10**9), ("100", 100)]
)
def test_sizes_are_read_as_kubernetes_writes_them(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_that_is_none_says_how_to_write_one() -> None:
    with pytest.raises(SpecError, match="write it like 512Mi"):
        parse_size("2 gigs")
