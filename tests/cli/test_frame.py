"""The frame: what is loaded for what, exit codes, colour, completion, narrow terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Shop
from tidegate.cli.frame import _WHERE
from tidegate.cli.output import table

HEAVY = ("prefect", "pydantic", "kubernetes", "git", "numpy", "yaml", "rich", "docker", "requests")


def loaded(arguments: list[str], env: dict[str, str], among: tuple[str, ...]) -> list[str]:
    """Which of the modules a command loaded."""
    script = (
        "import sys\nfrom tidegate.cli import main\n"
        f"code = main({arguments!r})\n"
        f"print([m for m in {among!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )
    found: list[str] = eval(done.stderr.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in _WHERE), ["nope"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(arguments, {}, HEAVY) == []


def test_looking_never_loads_prefect(shop: Shop) -> None:
    for arguments in (
        ["validate"],
        ["status"],
        ["plan", "shop"],
        ["render", "shop", "staging"],
        ["history", "shop"],
        ["verify-ledger"],
        ["doctor"],
        ["schema"],
    ):
        assert loaded(arguments, shop.env, ("prefect", "docker", "matplotlib")) == [], arguments


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tidegate.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize("name", list(_WHERE))
def test_every_command_shows_examples(name: str) -> None:
    said = run(name, "--help")
    assert said.returncode == 0
    assert "Examples:" in said.stdout
    assert f"tidegate {name}" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope"], "tidegate: no command 'nope'; `tidegate --help` shows them"),
        (["statsu"], "tidegate: no command 'statsu'; did you mean 'status'?"),
        (["plan"], "tidegate: missing argument 'APP'; `tidegate plan --help` shows what it takes"),
        (["plan", "--nope"], "tidegate: no such option '--nope'; `tidegate plan --help` shows what it takes"),
        (
            ["history", "x", "-n", "0"],
            "tidegate: invalid value for '-n' / '--last': 0 is not in the range x>=1",
        ),
    ],
)
def test_wrong_arguments_end_in_a_sentence_and_2(arguments: list[str], sentence: str) -> None:
    said = run(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(sentence)
    assert said.stderr.count("\n") == 1


def test_settings_that_cannot_be_used_are_named() -> None:
    said = run("validate", env={"TIDEGATE_GIT_TIMEOUT": "soon"})
    assert said.returncode == 2
    assert said.stderr.startswith("tidegate: TIDEGATE_GIT_TIMEOUT: input should be a valid number")


def test_a_mistake_of_ours_is_one_sentence_and_3(tmp_path: Path) -> None:
    script = (
        "import sys, tidegate.cli.common as c\n"
        "c.load = None\n"
        "from tidegate.cli import main\n"
        "sys.exit(main(['status']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr.startswith("tidegate: a mistake of ours, TypeError:")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_is_130_and_quiet() -> None:
    """The command waits for a repository that never answers; the signal comes once it has begun to ask."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        env = {
            **os.environ,
            "TIDEGATE_FLEET": f"http://127.0.0.1:{server.getsockname()[1]}/x.git//a@main",
            "TIDEGATE_GIT_PROTOCOLS": "http",
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "tidegate.cli", "validate"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        server.settimeout(30)
        accepted, _ = server.accept()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
        accepted.close()
    assert (child.returncode, out, err.strip()) == (130, b"", b"")


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m tidegate.cli schema | head -c 10"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def in_terminal(arguments: list[str], env: dict[str, str], columns: int) -> str:
    """What a command writes to a terminal of that width."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({**env, "COLUMNS": str(columns), "TERM": "xterm-256color"})
        os.execv(sys.executable, [sys.executable, "-m", "tidegate.cli", *arguments])
    told = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        told += part
    os.waitpid(pid, 0)
    os.close(terminal)
    return told.decode().replace("\r\n", "\n")


def test_colour_is_for_terminals_that_want_it(shop: Shop) -> None:
    assert "\x1b[" in in_terminal(["status"], shop.env, 120)
    assert "\x1b[" not in in_terminal(["status"], {**shop.env, "NO_COLOR": "1"}, 120)
    assert "\x1b[" not in shop("status").out


@pytest.mark.parametrize("columns", [64, 80, 120])
def test_tables_fit_the_terminal(shop: Shop, columns: int) -> None:
    for arguments in (["status"], ["history", "shop"], ["doctor"]):
        told = in_terminal(arguments, {**shop.env, "NO_COLOR": "1"}, columns)
        wide = [line for line in told.splitlines() if len(line) > columns and " " in line[40:].strip()]
        assert wide == [], arguments


def test_lines_are_whole_where_nobody_looks() -> None:
    long = "word " * 100
    assert table(("A", "B"), [("x", long)]).splitlines()[1] == f"x  {long}".rstrip()


def test_the_shell_completes_commands_and_names(shop: Shop) -> None:
    def complete(words: str) -> list[str]:
        env = {
            **os.environ,
            **shop.env,
            "_TIDEGATE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        said = subprocess.run(
            [str(Path(sys.executable).parent / "tidegate")],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
        )
        return [line.partition(",")[2] for line in said.stdout.splitlines()]

    assert complete("tidegate st") == ["status"]
    assert complete("tidegate plan s") == ["shop"]
    assert complete("tidegate plan shop p") == ["production"]
