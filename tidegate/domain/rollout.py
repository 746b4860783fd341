"""A canary by replicas: a second Deployment behind the same Service; replica counts give the weights.

The stable workload is not touched before the verdict. While a canary runs, the desired state is the last good
tree, plus what the new tree adds beside workloads, plus the canaries; afterwards it is one of the two trees alone.
What is true about a running canary is written on it (labels and annotations), so any process can go on with it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.domain.manifests import Manifest, Ref, pod_template, ref

TRACK = "tidegate.dev/track"
RELEASE = "tidegate.dev/release"
COMMIT = "tidegate.dev/commit"
WEIGHT = "tidegate.dev/weight"
STARTED = "tidegate.dev/started"
STEP_STARTED = "tidegate.dev/step-started"
SUFFIX = "-canary"
WHOLE = 100
"""Weight of a first release, which is tried out on all pods."""
LOST_AFTER = timedelta(seconds=30)
WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"})


@dataclass(frozen=True, slots=True)
class Canary:
    """What the cluster says about a running canary."""

    release: str
    commit: str
    """The commit of the rendered branch it tries out."""
    weight: int
    started: datetime
    """When its first pods were asked for; evidence counts from here, over all weights."""
    step_started: datetime


def replicas(weight: int, stable: int) -> int:
    """Canary replicas so that canary/(canary + stable) is nearest to `weight` percent; at least one."""
    return max(1, round(weight * stable / (100 - weight)))


def changed_deployments(last_good: Sequence[Manifest], new: Sequence[Manifest]) -> tuple[Ref, ...]:
    """Deployments of both trees whose pods would change: what a canary has to try out."""
    before = {ref(m): pod_template(m) for m in last_good if m.get("kind") == "Deployment"}
    return tuple(
        ref(m)
        for m in new
        if m.get("kind") == "Deployment" and ref(m) in before and pod_template(m) != before[ref(m)]
    )


def canary_of(deployment: Manifest, stable: int, canary: Canary) -> Manifest:
    """The canary of a Deployment of the new tree: its own name, selector and replica count, the same Service."""
    made = copy.deepcopy(deployment)
    made["metadata"]["name"] += SUFFIX
    made["metadata"].setdefault("labels", {})[TRACK] = "canary"
    made["metadata"].setdefault("annotations", {}).update(_marks(canary))
    spec = made["spec"]
    spec["replicas"] = replicas(canary.weight, stable)
    spec.setdefault("selector", {}).setdefault("matchLabels", {})[TRACK] = "canary"
    spec["template"].setdefault("metadata", {}).setdefault("labels", {})[TRACK] = "canary"
    return made


def _marks(canary: Canary) -> dict[str, str]:
    return {
        RELEASE: canary.release,
        COMMIT: canary.commit,
        WEIGHT: str(canary.weight),
        STARTED: canary.started.isoformat(),
        STEP_STARTED: canary.step_started.isoformat(),
    }


def read_canary(live: Iterable[Manifest]) -> Canary | None:
    """The running canary as its Deployments describe it; None when there is none.

    With several Deployments the one that is furthest behind speaks: a step half done is done again.
    """
    found = [c for c in map(_read_one, live) if c]
    return min(found, key=lambda c: (c.weight, c.step_started)) if found else None


def _read_one(live: Manifest) -> Canary | None:
    meta = live["metadata"]
    marks = meta.get("annotations") or {}
    if WEIGHT not in marks or meta.get("deletionTimestamp"):
        return None
    return Canary(
        release=marks[RELEASE],
        commit=marks[COMMIT],
        weight=int(marks[WEIGHT]),
        started=datetime.fromisoformat(marks[STARTED]),
        step_started=datetime.fromisoformat(marks[STEP_STARTED]),
    )


def leftovers(
    pods: Iterable[Manifest], last_good: Sequence[Manifest], new: Sequence[Manifest], now: datetime
) -> int:
    """How many pods would be taken for those of the canaries of `new`, before these have started.

    A pod that should have been gone for `LOST_AFTER` is on a node that nobody hears of: it serves nothing.
    """
    changed = set(changed_deployments(last_good, new))
    selectors = [_canary_selector(m) for m in new if ref(m) in changed]
    return _chosen([pod for pod in pods if not _is_lost(pod, now)], selectors)


def leaving(pods: Iterable[Manifest], manifests: Sequence[Manifest], now: datetime) -> int:
    """How many pods of these workloads are ending: Prometheus may still hear an earlier version from them."""
    selectors = [
        labels for m in manifests if m["kind"] in WORKLOADS - {"Pod"} and (labels := _match_labels(m))
    ]
    ending = [pod for pod in pods if pod["metadata"].get("deletionTimestamp") and not _is_lost(pod, now)]
    return _chosen(ending, selectors)


def _chosen(pods: Iterable[Manifest], selectors: Sequence[Mapping[str, str]]) -> int:
    """How many of the pods one of the selectors matches."""
    labels = [(pod["metadata"].get("labels") or {}).items() for pod in pods]
    return sum(any(selector.items() <= own for selector in selectors) for own in labels)


def _match_labels(workload: Manifest) -> dict[str, str]:
    return dict((workload["spec"].get("selector") or {}).get("matchLabels") or {})


def _canary_selector(deployment: Manifest) -> dict[str, str]:
    return {**_match_labels(deployment), TRACK: "canary"}


def _is_lost(pod: Manifest, now: datetime) -> bool:
    due = pod["metadata"].get("deletionTimestamp")
    return bool(due) and now - datetime.fromisoformat(due) > LOST_AFTER


def stable_replicas(manifest: Manifest) -> int:
    """How many replicas a Deployment asks for; Kubernetes' default is one."""
    count = manifest["spec"].get("replicas")
    return 1 if count is None else int(count)


def canary_phase(last_good: Sequence[Manifest], new: Sequence[Manifest], canary: Canary) -> list[Manifest]:
    """Desired state while a canary runs: last good + additions that are no workloads + one canary per change."""
    known = {ref(m): m for m in last_good}
    additions = [m for m in new if ref(m) not in known and m["kind"] not in WORKLOADS]
    changed = set(changed_deployments(last_good, new))
    canaries = [canary_of(m, stable_replicas(known[ref(m)]), canary) for m in new if ref(m) in changed]
    return [*last_good, *additions, *canaries]


def finish_phase(last_good: Sequence[Manifest], new: Sequence[Manifest], canary: Canary) -> list[Manifest]:
    """Desired state while the stable workload takes the new version: the new tree, canaries still serving."""
    stable = {ref(m): m for m in last_good}
    changed = set(changed_deployments(last_good, new))
    canaries = [canary_of(m, stable_replicas(stable[ref(m)]), canary) for m in new if ref(m) in changed]
    return [*new, *canaries]
