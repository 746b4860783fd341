"""What people read in artifacts: words of others stay words, numbers carry their limits, a lost view costs nothing."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks import _artifact
from tasks.showing import _plain, verdict_text
from tidegate.domain.gate import Outcome, Sample, evaluate
from tidegate.domain.promotion import StageView
from tidegate.domain.rollout import Canary
from tidegate.running.processes import free_port
from tidegate.spec import Stage

STARTED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
CHECKS = (
    {"kind": "ratio", "name": "errors", "bad": "bad", "total": "all"},
    {"kind": "threshold", "name": "p99 | slow", "query": "q", "max": 0.25, "failures": 2},
)


def view(errors: float, *, gaps: int = 0, on_failure: str = "rollback") -> StageView:
    """Ten minutes of a canary with this share of bad requests, stable with 1 %; the first intervals are gaps."""
    stage = Stage.model_validate(
        {
            "name": "production",
            "path": "shop/production",
            "target": {"kind": "kubernetes"},
            "rollout": {"kind": "canary", "weights": [20]},
            "gate": {"metrics": {"kind": "prometheus"}, "checks": CHECKS},
            "on_failure": on_failure,
        }
    )
    assert stage.gate
    start = STARTED.timestamp()
    moments = [start + 60 * n for n in range(1, 11)]
    ratio = [
        Sample(at, gap="stale") if n < gaps else Sample(at, canary=(1000 * errors, 1000), control=(40, 4000))
        for n, at in enumerate(moments)
    ]
    slow = [Sample(at, canary=(0.1, 0.25)) for at in moments]
    samples = {"errors": ratio, "p99 | slow": slow}
    judged = evaluate(stage.gate, samples, started=start, now=moments[-1])
    canary = Canary("3f2a91c-0d1e2f", "c0ffee", 20, STARTED, STARTED)
    return StageView("shop", stage, STARTED + timedelta(minutes=10), canary=canary, verdict=judged)


def test_a_failed_verdict_says_what_failed_by_how_much_how_sure_and_what_follows() -> None:
    text = verdict_text("shop", "production", view(0.2))
    assert text.startswith("## Stopped: shop 3f2a91c-0d1e2f failed in production\n")
    [row] = [line for line in text.splitlines() if line.startswith("| errors")]
    assert "200 of 1,000 bad (20 %) | 40 of 4,000 bad (1 %)" in row, "only what the decision rests on"
    assert "| fails ≥ 1.25 ×, passes < 2 × | 20 ×, **Failed** |" in row
    assert "times as bad as stable (95 %" in text
    assert "the stable pods were not touched, Git gets the rollback" in text
    assert "`tidegate approve shop production`" in text


def test_a_threshold_shows_its_bound_and_the_misses_it_allows() -> None:
    text = verdict_text("shop", "production", view(0.01))
    assert r"| p99 \| slow | 0.1 | – | at most 0.25; 2 misses allowed |" in text


def test_intervals_without_evidence_are_counted_and_explained() -> None:
    text = verdict_text("shop", "production", view(0.01, gaps=2))
    assert "2 of 10 intervals were no evidence: stale" in text


def test_a_stage_that_holds_on_failure_promises_no_rollback() -> None:
    seen = view(0.2, on_failure="hold")
    assert seen.verdict and seen.verdict.outcome is Outcome.Failed
    text = verdict_text("shop", "production", seen)
    assert "It stays as it is." in text
    assert "rollback" not in text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("fix | break", r"fix \| break"),
        ("<img src=//evil.example>", r"\<img src=//evil.example\>"),
        ("[click](http://evil.example)", r"\[click\](http://evil.example)"),
        ("two\nlines `x`", "two lines x"),
        ("plain: 3.1 (1.9–5.2) ≥ 1.25", "plain: 3.1 (1.9–5.2) ≥ 1.25"),
    ],
)
def test_words_of_others_make_no_markup(written: str, shown: str) -> None:
    assert _plain(written) == shown


def test_keys_are_what_prefect_takes() -> None:
    assert _artifact.key_of("verdict", "My_shop", "eu.prod") == "verdict-my-shop-eu-prod"


async def test_a_view_that_nobody_takes_is_told_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    nobody = temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"})
    with nobody, caplog.at_level(logging.WARNING, logger="tasks"):
        async with _artifact.view_only("verdict-shop-production") as client:
            await client.hello()
    assert "verdict-shop-production is not shown" in caplog.text


async def test_nothing_is_written_outside_of_a_run() -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        await _artifact.keep("release-shop", "text", "words", on_top=True)
        await _artifact.add("plan-shop-production", "text", "words")
