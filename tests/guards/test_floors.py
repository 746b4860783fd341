"""The house's rules that a machine can check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def test_nothing_imports_upward_and_prefect_stays_above_the_core() -> None:
    done = run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    done = run("-m", "ruff", "check", ".")
    assert done.returncode == 0, done.stdout


def test_every_file_is_formatted() -> None:
    done = run("-m", "ruff", "format", "--check", ".")
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_types_are_strict() -> None:
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "words", [("--help",), ("plan", "--help"), ("status", "--help"), ("validate", "--help")]
)
def test_reading_commands_start_without_prefect(words: tuple[str, ...]) -> None:
    code = "\n".join(
        [
            "import sys",
            f"sys.argv = ['tidegate', *{words!r}]",
            "from tidegate.cli import main",
            "try:",
            "    main()",
            "finally:",
            "    assert 'prefect' not in sys.modules",
        ]
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_no_path_of_this_checkout_is_written_down() -> None:
    done = subprocess.run(
        ["git", "grep", "-nF", str(ROOT), "--", "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
