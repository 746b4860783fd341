"""`kill -9` at random moments of a canary: whoever comes next ends it right, and nothing happens twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flows.town import Shop, Town, outcome
from tidegate.domain.records import Kind

KILLS, SHOPS = 20, 4
LONGEST = 24.0
"""Seconds a canary takes here, about: kills fall anywhere before its end."""


@pytest.mark.timeout(1500)
def test_a_canary_killed_anywhere_is_ended_right_by_the_next_look(the_town: Town) -> None:
    seed = int(os.environ.get("TIDEGATE_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}; TIDEGATE_SEED={seed} repeats it")
    shops = [Shop(the_town, f"killed-{n}", stages=("production",), replicas=2) for n in range(SHOPS)]
    the_town.admit(*(shop.name for shop in shops))
    with ThreadPoolExecutor(SHOPS) as pool:
        told = list(pool.map(lambda n: _play(the_town, shops[n], random.Random(seed + n)), range(SHOPS)))
    print("\n".join(line for lines in told for line in lines))
    for shop in shops:
        _nothing_happened_twice(shop)


def _play(town: Town, shop: Shop, chance: random.Random) -> list[str]:
    shop.release("0")
    assert town.run("deliver", app=shop.name)["type"] == "COMPLETED"
    live, lines = "0", []
    for number in range(1, KILLS // SHOPS + 1):
        is_good, after = chance.random() < 0.5, chance.uniform(3, LONGEST)
        before = shop.live_image()
        made = shop.release(str(number), bad=0.01 if is_good else 0.3)
        ended = _killed(town, shop, after)
        last = _ended(town, shop)
        lines.append(
            f"{shop.name} {number} {'good' if is_good else 'bad'}, killed after {after:.1f} s{ended}: {last['name']}"
        )
        live = str(number) if is_good else live
        assert shop.version() == live, (lines, last)
        assert set(shop.deployments()) == {"shop"}, lines
        held = {r.release for r in shop.records("production", Kind.Hold)}
        assert (made.id in held) is not is_good, lines
        assert is_good or shop.live_image() == before, lines
    return lines


def _ended(town: Town, shop: Shop) -> dict[str, str]:
    """The next look's answer; one that a busy Prefect server broke off is followed by another, as by schedule."""
    for _ in range(3):
        last = town.run("deliver", app=shop.name)
        if last["name"] not in ("Failed", "Crashed"):
            break
    return last


def _killed(town: Town, shop: Shop, after: float) -> str:
    process = town.play("deliver", app=shop.name)
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ""
    return f" (had ended as {outcome(process)['name']})"


def _nothing_happened_twice(shop: Shop) -> None:
    told = Counter(
        (r.kind, r.release, r.data.get("commit"), r.data.get("weight")) for r in shop.records("production")
    )
    assert {what: count for what, count in told.items() if count > 1} == {}
    promoted = Counter(line for line in shop.config_log() if line.startswith("Promote"))
    assert {line: count for line, count in promoted.items() if count > 1} == {}
    good = {r.release for r in shop.records("production", Kind.Sync)}
    assert shop.deployments()["shop"]["metadata"]["generation"] == len(good)
