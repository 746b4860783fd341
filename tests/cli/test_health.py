"""`tidegate health test`: scripts and cases laid out as in Argo CD."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "customizations"
DATABASE = Path("db.example", "Database")


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate.cli", "health", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "health")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_folder_laid_out_as_argo_cds_passes() -> None:
    assert run("test", FOLDER) == (0, "6/6 cases\n", "")


def test_every_difference_is_a_line_and_the_answer_is_no(folder: Path) -> None:
    edit(folder / DATABASE / "health.lua", "Waiting for the database", "Waiting")
    edit(folder / DATABASE / "health.lua", '"Degraded"', "nil")
    assert run("test", folder) == (
        1,
        "db.example/Database/testdata/new.yaml: message is 'Waiting', should be 'Waiting for the database'\n"
        "db.example/Database/testdata/deep/failed.yaml: status is Unknown, should be Degraded\n"
        "db.example/Database/testdata/deep/failed.yaml: message is 'Lua returned an invalid health status', "
        "should be 'disk: full'\n"
        "4/6 cases\n",
        "",
    )


def test_a_script_that_fails_or_is_missing_differs_with_its_reason(folder: Path) -> None:
    (folder / "_.queue.example" / "_" / "health.lua").unlink()
    edit(folder / DATABASE / "health.lua", "obj.status == nil or", "")
    assert run("test", folder) == (
        1,
        "_.queue.example/_/testdata/running.yaml: no script for slow.queue.example/v1beta1 Topic\n"
        f"db.example/Database/testdata/new.yaml: {folder}/db.example/Database/health.lua:2: "
        "attempt to index field 'status' (a nil value)\n"
        "db.example/Database/testdata/queue.yaml: no script for fast.queue.example/v1 Queue\n"
        "3/6 cases\n",
        "",
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("health_test.yaml", "tests:", "cases:", "health_test.yaml:1:1: no list of tests; "),
        ("health_test.yaml", "tests:", "tests: [", "health_test.yaml:2:"),
        (
            "health_test.yaml",
            "new.yaml",
            "old.yaml",
            "health_test.yaml:2:3: testdata/old.yaml is not there; ",
        ),
        ("health_test.yaml", "testdata/new.yaml", "../../../x", "leads out of"),
        (
            "health_test.yaml",
            "Progressing",
            "Working",
            "health_test.yaml:2:3: there is no status 'Working'; ",
        ),
        ("testdata/new.yaml", "orders}", "orders", "new.yaml:"),
        ("testdata/silent.yaml", "apiVersion", "- apiVersion", "silent.yaml:"),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    folder: Path, file: str, old: str, new: str, sentence: str
) -> None:
    edit(folder / DATABASE / file, old, new)
    code, out, err = run("test", folder)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_folder_without_cases_is_said_so(tmp_path: Path) -> None:
    code, out, err = run("test", tmp_path)
    assert (code, out) == (2, "")
    assert err == f"tidegate: {tmp_path}: no cases here; they are listed in <group>/<Kind>/health_test.yaml\n"
    assert run("test", tmp_path / "nope")[0] == 2


def test_a_script_that_is_no_text_is_named_with_its_line(folder: Path) -> None:
    (folder / DATABASE / "health.lua").write_bytes(b"-- one\n-- \xff\n")
    code, _, err = run("test", folder)
    assert code == 2
    assert "Database/health.lua:2: is not UTF-8; save it as such" in err


def test_wrong_subcommands_end_in_a_sentence() -> None:
    code, _, err = run("tset", ".")
    assert (code, err.count("\n")) == (2, 1)
    assert "tset" in err
