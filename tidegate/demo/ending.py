"""Did the story end as it should? Asked of the ledger, Git, the cluster and the visitors' log, which must agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from tidegate.demo.answers import tally
from tidegate.demo.scene import Course, Scene, images
from tidegate.demo.table import Told
from tidegate.domain.records import Kind, Record

CANARY = "digits-canary-"
COUNTED = (0.7, 1.3)
"""Prometheus extrapolates at the edges of its windows: its counts and the visitors' agree within this."""


def problems(scene: Scene, story: list[Told]) -> list[str]:
    """Everything that is not as it should be; empty when all is well."""
    scene.answers.refresh()
    first, second, third = story
    return [
        *_in_turn(first.course, second.course, third.course),
        *_second_is_held(scene, second.course),
        *_third_is_live(scene, third.course),
        *_git_tells_it(scene, first.course, second.course, third.course),
        *_visitors_agree(scene, second, third),
    ]


def _in_turn(first: Course, second: Course, third: Course) -> Iterator[str]:
    ends = [first.live("production"), third.live("production")]
    undone = second.rolled_back
    if None in ends or undone is None:
        yield "release 1 and 3 should have been live in production and release 2 rolled back"
    elif not ends[0] < undone.at < ends[1]:  # type: ignore[operator]
        yield "release 1, the rollback of release 2 and release 3 should have happened in this order"
    if second.live("production"):
        yield f"{second.release} was bad and became live in production"
    if second.live("staging") is None:
        yield f"{second.release} should have passed staging"


def _second_is_held(scene: Scene, second: Course) -> Iterator[str]:
    if second.first(Kind.Hold, "production") is None:
        yield f"{second.release} should be held in production"
    verdict = second.verdict
    if verdict is None or verdict.data.get("outcome") != "Failed":
        yield f"the gate should have failed {second.release}"
    elif not _canary_mistakes(verdict.data):
        yield "the verdict should carry the samples it was made from"


def _third_is_live(scene: Scene, third: Course) -> Iterator[str]:
    found = scene.deployments("production")
    if set(found) != {"digits"}:
        yield f"production should run digits alone, and runs {', '.join(sorted(found)) or 'nothing'}"
        return
    live, made = images(found["digits"]), third.first(Kind.Release)
    wanted = [f"{image['name']}@{image['digest']}" for image in made.data["images"]] if made else []
    if list(live) != wanted:
        yield f"production should run {wanted}, and runs {list(live)}"
    ready = found["digits"].get("status", {}).get("readyReplicas")
    if ready != found["digits"]["spec"]["replicas"]:
        yield f"production should have all its replicas ready, and has {ready}"
    verdict = third.verdict
    if verdict is None or verdict.data.get("outcome") != "Successful":
        yield f"the gate should have passed {third.release}"
    weights = [r.data.get("weight") for r in third.records if r.kind is Kind.Shift]
    if weights != [20, 50]:
        yield f"{third.release} should have had 20 and 50 % of the pods, and had {weights}"


def _git_tells_it(scene: Scene, *courses: Course) -> Iterator[str]:
    first, second, third = (course.release for course in courses)
    lines = scene.commits(
        "main", "--reverse", "--format=%(trailers:key=Tidegate-Stage,valueonly,separator=) %s"
    )
    told = [line.partition(" ")[2] for line in lines if line.startswith("production ")]
    wanted = [(first, "Promote"), (second, "Promote"), (first, "Roll back"), (third, "Promote")]
    as_wanted = len(told) == len(wanted) and all(
        line.startswith(verb) and release in line for line, (release, verb) in zip(told, wanted, strict=True)
    )
    if not as_wanted:
        yield f"the config repository should tell of promote, promote, roll back, promote; it tells {told}"


def _visitors_agree(scene: Scene, second: Told, third: Told) -> Iterator[str]:
    everybody = scene.answers.all
    hurt = [answer for answer in everybody if answer.hurt]
    elsewhere = [a for a in hurt if not a.pod.startswith(CANARY) or not second.at <= a.at < third.at]
    if not hurt:
        yield "release 2 should have hurt some visitors, or there is nothing to catch"
    if elsewhere:
        yield f"{len(elsewhere)} requests were hurt by something else than release 2's canary"
    verdict = second.course.verdict
    if verdict is not None:
        yield from _counts_agree(scene, verdict)


def _counts_agree(scene: Scene, verdict: Record) -> Iterator[str]:
    """The gate's count of the canary's mistakes against what the visitors wrote down in the same time."""
    start, end, counted = _canary_mistakes(verdict.data) or (0.0, 0.0, 0.0)
    seen = tally([a for a in scene.answers.between(start, end) if a.pod.startswith(CANARY)])
    mistakes = seen.hurt + seen.wrong
    low, high = COUNTED
    if not low * mistakes - 5 <= counted <= high * mistakes + 5:
        yield f"the gate counted {counted:.0f} mistakes of the canary, its visitors {mistakes}"


def _canary_mistakes(verdict: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """From when to when the `mistakes` check looked, and how many it counted; None without samples."""
    for part in verdict.get("parts", ()):
        samples = [s for s in part["samples"] if s["canary"] is not None]
        if part["check"] == "mistakes" and samples:
            every = float(part["parameters"].get("every", 0) or _spacing(samples))
            return samples[0]["at"] - every, samples[-1]["at"], sum(float(s["canary"][0]) for s in samples)
    return None


def _spacing(samples: list[dict[str, Any]]) -> float:
    times = [float(s["at"]) for s in samples]
    return min((b - a for a, b in pairwise(times)), default=5.0)
