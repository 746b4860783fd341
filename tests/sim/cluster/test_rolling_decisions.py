"""Which ReplicaSet gets how many pods: the decisions of the Deployment controller, as tables."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tidegate.sim.controllers import deployment_status as status
from tidegate.sim.controllers import rolling


def deployment(replicas: int, surge: Any = "25%", unavailable: Any = "25%", **spec: Any) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "strategy": strategy, **spec},
    }


def replica_set(
    name: str, replicas: int, available: int | None = None, age: int = 0, **annotations: str
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": f"2026-01-01T00:00:{59 - age:02d}Z",
            "annotations": annotations,
        },
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "availableReplicas": replicas if available is None else available},
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (4, 0, 0, (0, 1)),
        (3, "1%", "1%", (1, 0)),
        (3, "0%", "10%", (0, 1)),
        (2, 1, 5, (1, 2)),
    ],
)
def test_surge_rounds_up_and_unavailable_rounds_down_and_both_are_never_zero(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    assert rolling.fenceposts(deployment(replicas, surge, unavailable)) == expected


def test_the_new_replica_set_may_fill_only_the_surge() -> None:
    old = replica_set("old", 4)
    new = replica_set("new", 0)
    assert rolling.scale_new(deployment(4, 1, 0), new, [old, new]) == [rolling.Scale(new, 1)]


def test_old_pods_stay_until_new_ones_are_available() -> None:
    old, new = replica_set("old", 4), replica_set("new", 1, available=0)
    assert rolling.scale_old(deployment(4, 1, 0), new, [old]) == []
    new = replica_set("new", 1, available=1)
    assert rolling.scale_old(deployment(4, 1, 0), new, [old]) == [rolling.Scale(old, 3)]


def test_old_pods_that_never_became_available_go_first() -> None:
    broken = replica_set("broken", 2, available=0, age=5)
    good = replica_set("good", 3, age=10)
    new = replica_set("new", 1, available=1)
    steps = rolling.scale_old(deployment(4, 2, 0), new, [good, broken])
    assert steps == [rolling.Scale(broken, 0)]


def test_resizing_a_running_rollout_spreads_the_change_over_both_replica_sets() -> None:
    marks = {rolling.MAXIMUM: "13"}
    old, new = replica_set("old", 8, age=9, **marks), replica_set("new", 5, available=3, **marks)
    steps = rolling.scale_to(deployment(20, 3, 2), new, [old])
    sizes = {s.replica_set["metadata"]["name"]: s.replicas for s in steps}
    assert sizes == {"old": 14, "new": 9}
    assert sum(sizes.values()) == 23


def test_no_sequence_of_rolling_steps_leaves_the_promised_bounds() -> None:
    """Random rollouts in which pods come up in random order: never above surge, never below the minimum."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(200):
        want = dice.randint(1, 12)
        spec = deployment(want, dice.choice([0, 1, 2, "25%", "100%"]), dice.choice([0, 1, "25%", "50%"]))
        surge, unavailable = rolling.fenceposts(spec)
        old, new = replica_set("old", want, age=9), replica_set("new", 0)
        for _ in range(200):
            steps = rolling.scale_new(spec, new, [old, new]) or rolling.scale_old(spec, new, [old])
            for step in steps:
                chosen = step.replica_set
                chosen["spec"]["replicas"] = step.replicas
                chosen["status"]["availableReplicas"] = min(
                    chosen["status"]["availableReplicas"], step.replicas
                )
            total = old["spec"]["replicas"] + new["spec"]["replicas"]
            serving = sum(rolling.available(s) for s in (old, new))
            assert want - unavailable <= serving
            assert total <= want + surge
            if rolling.available(new) < new["spec"]["replicas"] and dice.random() < 0.5:
                new["status"]["availableReplicas"] += 1
            if rolling.available(new) == want and old["spec"]["replicas"] == 0:
                break
        else:
            pytest.fail(f"the rollout never ended: {spec['spec']}")


def test_history_keeps_the_newest_revisions() -> None:
    old = [replica_set(f"r{n}", 0, **{rolling.REVISION: str(n)}) for n in (3, 1, 2)]
    for found in old:
        found["status"] = {}
    gone = rolling.to_clean_up(deployment(1, revisionHistoryLimit=1), old)
    assert [s["metadata"]["name"] for s in gone] == ["r1", "r2"]


def test_a_rollout_that_stands_still_past_its_deadline_says_so_and_a_finished_one_never_does() -> None:
    spec = deployment(2, progressDeadlineSeconds=5)
    new = replica_set("new", 2, available=0)
    started = status.new_condition("Progressing", "True", status.CREATED, "")
    spec["status"] = {"updatedReplicas": 2, "replicas": 2, "unavailableReplicas": 2, "conditions": [started]}
    then = status.seconds(started["lastUpdateTime"])
    early = status.with_progress(spec, status.counted(spec, [new], new), new, then + 4)
    late = status.with_progress(spec, status.counted(spec, [new], new), new, then + 6)
    reasons = [
        next(c for c in s["conditions"] if c["type"] == "Progressing")["reason"] for s in (early, late)
    ]
    assert reasons == [status.CREATED, status.TIMED_OUT]
    new["status"]["availableReplicas"] = 2
    spec["status"]["conditions"] = late["conditions"]
    done = status.with_progress(spec, status.counted(spec, [new], new), new, then + 7)
    assert next(c for c in done["conditions"] if c["type"] == "Progressing")["reason"] == status.COMPLETE
    spec["status"] = done
    new["status"]["availableReplicas"] = 1
    later = status.with_progress(spec, status.counted(spec, [new], new), new, then + 1000)
    assert next(c for c in later["conditions"] if c["type"] == "Progressing")["reason"] == status.COMPLETE
    assert next(c for c in later["conditions"] if c["type"] == "Available")["status"] == "False"
