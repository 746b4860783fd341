"""How a Deployment's replicas are spread over its ReplicaSets: pure decisions (pkg/controller/deployment).

Every function takes objects as the API server gives them and returns numbers; nothing here writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.sim.client import Object, seconds

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class Scale:
    """ReplicaSet `replica_set` should have `replicas`."""

    replica_set: Object
    replicas: int


def desired(obj: Object) -> int:
    value = obj["spec"].get("replicas")
    return 1 if value is None else int(value)


def available(replica_set: Object) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def revision(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def by_age(replica_set: Object) -> tuple[float, str]:
    meta = replica_set["metadata"]
    return seconds(meta.get("creationTimestamp")), meta["name"]


def amount(value: int | str | None, total: int, *, round_up: bool, default: str) -> int:
    """An IntOrString: a number, or a percentage of `total`."""
    text = str(default if value is None else value)
    if not text.endswith("%"):
        return int(text)
    share = int(text[:-1]) * total / 100
    return math.ceil(share) if round_up else math.floor(share)


def is_rolling(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def fenceposts(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods; never both zero (ResolveFenceposts)."""
    if not is_rolling(deployment):
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    total = desired(deployment)
    surge = amount(rolling.get("maxSurge"), total, round_up=True, default="25%")
    unavailable = amount(rolling.get("maxUnavailable"), total, round_up=False, default="25%")
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, total)


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """Whether the new ReplicaSet holds all desired pods, and all are available."""
    if new is None:
        return False
    annotated = (new["metadata"].get("annotations") or {}).get(DESIRED)
    want = desired(deployment)
    return desired(new) == want and annotated == str(want) and available(new) == want


def is_scaling_event(deployment: Object, replica_sets: Sequence[Object]) -> bool:
    """Whether the replica count was changed since the ReplicaSets were last written."""
    for found in replica_sets:
        annotated = (found["metadata"].get("annotations") or {}).get(DESIRED)
        if desired(found) > 0 and annotated is not None and annotated != str(desired(deployment)):
            return True
    return False


def new_replicas(deployment: Object, new: Object | None, everything: Sequence[Object]) -> int:
    """How many pods the new ReplicaSet may have now (NewRSNewReplicas)."""
    want = desired(deployment)
    if not is_rolling(deployment):
        return want
    current = sum(desired(found) for found in everything)
    have = desired(new) if new is not None else 0
    room = want + fenceposts(deployment)[0] - current
    if room <= 0:
        return have
    return have + min(room, want - have)


def scale_new(deployment: Object, new: Object, everything: Sequence[Object]) -> list[Scale]:
    want = desired(deployment)
    if desired(new) == want:
        return []
    target = want if desired(new) > want else new_replicas(deployment, new, everything)
    return [] if target == desired(new) else [Scale(new, target)]


def scale_old(deployment: Object, new: Object, old: Sequence[Object]) -> list[Scale]:
    """Takes old pods away, unhealthy ones first, never below the minimum that must stay available."""
    if not any(desired(found) for found in old):
        return []
    minimum = desired(deployment) - fenceposts(deployment)[1]
    everything = [*old, new]
    removable = sum(desired(s) for s in everything) - minimum - (desired(new) - available(new))
    if removable <= 0:
        return []
    sizes = {s["metadata"]["uid"]: desired(s) for s in old}
    ordered = sorted(old, key=by_age)
    _take_unhealthy(ordered, sizes, removable)
    spare = sum(min(sizes.get(s["metadata"]["uid"], desired(s)), available(s)) for s in everything) - minimum
    for found in ordered:
        uid = found["metadata"]["uid"]
        taken = max(min(sizes[uid], spare), 0)
        sizes[uid] -= taken
        spare -= taken
    return [
        Scale(s, sizes[s["metadata"]["uid"]]) for s in ordered if sizes[s["metadata"]["uid"]] != desired(s)
    ]


def _take_unhealthy(ordered: Sequence[Object], sizes: dict[str, int], budget: int) -> None:
    for found in ordered:
        uid = found["metadata"]["uid"]
        taken = min(max(sizes[uid] - available(found), 0), budget)
        sizes[uid] -= taken
        budget -= taken


def scale_to(deployment: Object, new: Object | None, old: Sequence[Object]) -> list[Scale]:
    """What a change of `spec.replicas` (or a pause) means for each ReplicaSet (Deployment controller `scale`)."""
    everything = [*old, *([new] if new is not None else [])]
    active = [found for found in everything if desired(found) > 0]
    want = desired(deployment)
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=by_age, default=None)
        return [Scale(only, want)] if only is not None and desired(only) != want else []
    if is_saturated(deployment, new):
        return [Scale(found, 0) for found in old if desired(found) > 0]
    return _proportional(deployment, active) if is_rolling(deployment) else []


def _proportional(deployment: Object, active: Sequence[Object]) -> list[Scale]:
    """Spreads a size change over the ReplicaSets of a running rollout, the rest to the largest."""
    want = desired(deployment)
    limit = want + fenceposts(deployment)[0] if want > 0 else 0
    change = limit - sum(desired(found) for found in active)
    newest_first = sorted(active, key=by_age, reverse=change > 0)
    ordered = sorted(newest_first, key=desired, reverse=True)
    sizes: list[int] = []
    given = 0
    for found in ordered:
        share = _share(found, deployment, limit)
        left = change - given
        share = 0 if change == 0 else min(share, left) if change > 0 else max(share, left)
        given += share
        sizes.append(desired(found) + share)
    sizes[0] = max(sizes[0] + change - given, 0)
    return [Scale(found, size) for found, size in zip(ordered, sizes, strict=True) if size != desired(found)]


def _share(replica_set: Object, deployment: Object, limit: int) -> int:
    size = desired(replica_set)
    if desired(deployment) == 0:
        return -size
    annotated = (replica_set["metadata"].get("annotations") or {}).get(MAXIMUM, "")
    before = int(annotated) if annotated.isdigit() and annotated != "0" else 0
    before = before or int((deployment.get("status") or {}).get("replicas") or 0) or size
    return math.floor(size * limit / before + 0.5) - size


def to_clean_up(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old, empty ReplicaSets beyond `revisionHistoryLimit`, oldest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    limit = 10 if limit is None else int(limit)
    empty = [s for s in old if not s["metadata"].get("deletionTimestamp") and _is_empty(s)]
    return sorted(empty, key=lambda s: (revision(s), by_age(s)))[: max(len(empty) - limit, 0)]


def _is_empty(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    observed = int(status.get("observedGeneration") or 0) >= int(
        replica_set["metadata"].get("generation") or 0
    )
    return desired(replica_set) == 0 and not status.get("replicas") and observed
