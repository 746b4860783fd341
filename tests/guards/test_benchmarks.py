"""The benchmarks can be run, and their table says what was met and by how much the rest was missed."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from benchmarks.__main__ import main, names
from benchmarks.measuring import Goal, Of, Row
from benchmarks.table import text


@pytest.mark.parametrize("name", names())
def test_each_benchmark_says_what_it_asks_and_can_be_run(name: str) -> None:
    module = import_module(f"benchmarks.{name}")
    assert "?" in (module.__doc__ or "").splitlines()[0], "its first line is the question"
    assert callable(module.run)


def test_a_name_that_is_none_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "no benchmark nonsense; there is commit_to_deployed, " in capsys.readouterr().err


def test_the_table_tells_a_goal_that_is_met_from_one_that_is_missed_and_by_how_much() -> None:
    rows = [
        Row("fast", "ms", [10, 12, 11], Goal(2.0), floor=[10, 10, 10]),
        Row("slow", "ms", [30, 30, 30], Goal(2.0), floor=[10, 10, 10]),
        Row("late", "ms", [1, 1, 5000], Goal(1000, Of.P95)),
        Row("told", "MiB", [64]),
    ]
    head, _, fast, slow, late, told = text(rows).splitlines()
    assert head.split() == ["what", "median", "p95", "floor", "ratio", "goal", "n"]
    assert fast.split()[-1] == "met"
    assert "1.10×" in fast
    assert slow.endswith("MISSED, 1.50 times the goal")
    assert late.endswith("MISSED, 5.00 times the goal")
    assert told.split() == ["told", "64", "MiB", "64", "MiB", "1"]
    assert json.loads(json.dumps(rows[1].to_json()))["excess"] == pytest.approx(1.5)
