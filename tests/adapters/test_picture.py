"""The picture of a verdict: small, of a fixed width, and drawable whatever the verdict holds."""

from __future__ import annotations

import io
import math
import threading

import pytest
from PIL import Image

from tidegate.adapters.picture import verdict_chart
from tidegate.domain.gate import Ratio, Sample, Threshold, evaluate, recompute, to_data
from tidegate.domain.gate.ratio import judge
from tidegate.spec import Gate, Section

START = 1_000_000.0
ERRORS = Ratio(name="errors", bad="bad_total", total="all_total")
LATENCY = Threshold(name="latency", query="latency_seconds", max=0.5)


def counted(minutes, canary=20):
    return [Sample(START + 60 * m, (canary + m % 7, 1000), (20 + m % 5, 4000)) for m in minutes]


def verdict(errors=(), latency=(), checks=(ERRORS, LATENCY), minutes=60):
    gate = Gate(metrics=Section(kind="prometheus"), checks=checks)
    samples = {check.name: errors if isinstance(check, Ratio) else latency for check in checks}
    return evaluate(gate, samples, started=START, now=START + 60 * minutes)


def picture(of):
    data = verdict_chart(of)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == "PNG"
    assert image.size[0] == 900
    assert len(data) < 60_000
    return image


def colours(image):
    return {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}


def near(image, wanted, reach=40):
    return any(max(abs(a - b) for a, b in zip(c, wanted, strict=True)) <= reach for c in colours(image))


LATENCIES = [Sample(START + 60 * m, (0.2 + 0.001 * m, 0.5)) for m in range(1, 60)]
GAP = Sample(START + 60 * 7, gap="query failed")


@pytest.mark.parametrize(
    "of",
    [
        verdict(counted(range(1, 60)), LATENCIES),
        verdict(counted(range(1, 60), canary=200), LATENCIES),
        verdict([*counted([1, 2, 3]), GAP, *counted([9])], [GAP]),
        verdict([Sample(START + 60 * m, gap="x") for m in range(1, 30)]),
        verdict([Sample(START + 60, (math.nan, math.inf), (1, 1))], [Sample(START + 60, (math.nan, 0.5))]),
        verdict([Sample(START + 60, (0, 0), (0, 0))]),
        verdict([Sample(START + 60, None, (1, 10))]),
        verdict(counted([1])),
        verdict(),
        verdict(minutes=0),
        judge(ERRORS, [(3, 100)] * 5, [(1, 100)] * 5),
        judge(ERRORS, [], []),
    ],
    ids=[
        "passed", "failed", "gaps", "only gaps", "not numbers", "no traffic", "one arm", "one check", "nothing",
        "no time", "one test", "one empty test",
    ],
)  # fmt: skip
def test_every_verdict_has_a_small_picture(of):
    picture(of)


def test_a_long_gate_with_many_checks_stays_small():
    checks = tuple(ERRORS.model_copy(update={"name": f"errors-{i}"}) for i in range(12))
    picture(verdict(counted(range(1, 60)), checks=checks))


def test_both_arms_the_gaps_and_the_outcome_are_seen():
    failed = picture(verdict([*counted([1, 2, 3], canary=30), GAP, *counted(range(8, 20), canary=400)]))
    for wanted in ((0xC8, 0x50, 0x0A), (0x0B, 0x6A, 0xA8), (0xD9, 0xDD, 0xE3), (0xB3, 0x26, 0x1E)):
        assert near(failed, wanted), wanted


def test_the_picture_has_its_own_paper_for_light_and_dark_pages():
    image = picture(verdict(counted(range(1, 30)))).convert("RGBA")
    assert image.getextrema()[3] == (255, 255)
    assert image.getpixel((2, 2))[:3] == pytest.approx((0xF6, 0xF7, 0xF9), abs=4)


@pytest.mark.parametrize("name", ["$x_1$ & <b>", "fehler·größe", "エラー 😀", "x" * 300, "a\nb", ""])
def test_a_name_is_drawn_as_it_is_whatever_it_holds(name):
    picture(verdict(counted(range(1, 30)), checks=(ERRORS.model_copy(update={"name": name}),)))


def test_the_same_verdict_gives_the_same_bytes_also_from_its_record():
    of = verdict(counted(range(1, 60)), LATENCIES)
    assert verdict_chart(of) == verdict_chart(of) == verdict_chart(recompute(to_data(of)))


def test_pictures_may_be_drawn_in_several_threads():
    of, drawn = verdict(counted(range(1, 30))), []
    threads = [threading.Thread(target=lambda: drawn.append(verdict_chart(of))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(drawn) == 4
    assert len(set(drawn)) == 1
