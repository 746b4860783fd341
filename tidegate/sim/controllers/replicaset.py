"""ReplicaSets: exactly so many pods of one template, and how many of them are ready."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

from tidegate.errors import OutsideError
from tidegate.sim.client import PODS, REPLICA_SETS, Client, Object, timestamp
from tidegate.sim.controllers.pods import (
    PodControl,
    adopt,
    count_by,
    deletion_rank,
    is_active,
    is_deleting,
    pod_from,
    set_condition,
)
from tidegate.sim.events import Recorder
from tidegate.sim.informer import Informers, Key

BURST = 50
"""At most this many pods are created or deleted in one round; the next round continues."""


class ReplicaSetController:
    """Keeps the pods and the status of every ReplicaSet."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._replica_sets = informers[REPLICA_SETS]
        self._pods = informers[PODS]
        self._control = PodControl(client, self._pods, recorder, REPLICA_SETS)

    def reconcile(self, key: Key) -> float | None:
        replica_set = self._replica_sets.get(*key)
        if replica_set is None:
            return None
        replica_set = copy.deepcopy(replica_set)
        owned = adopt(
            self._client, self._pods, replica_set, REPLICA_SETS, replica_set["spec"].get("selector")
        )
        active = [pod for pod in owned if is_active(pod)]
        failure: OutsideError | None = None
        if not is_deleting(replica_set):
            failure = self._bring_to(replica_set, active)
        active = [p for p in self._pods.controlled_by(replica_set["metadata"]["uid"]) if is_active(p)]
        again = self._write_status(replica_set, active, failure)
        if failure is not None:
            raise failure
        return again

    def _bring_to(self, replica_set: Object, active: Sequence[Object]) -> OutsideError | None:
        missing = _wanted(replica_set) - len(active)
        try:
            for _ in range(min(missing, BURST)):
                self._control.create(
                    replica_set, pod_from(replica_set, REPLICA_SETS, replica_set["spec"]["template"])
                )
            for pod in sorted(active, key=deletion_rank)[: min(max(-missing, 0), BURST)]:
                self._control.delete(replica_set, pod)
        except OutsideError as error:
            return error
        return None

    def _write_status(
        self, replica_set: Object, active: Sequence[Object], failure: OutsideError | None
    ) -> float | None:
        wait = int(replica_set["spec"].get("minReadySeconds") or 0)
        ready, available, again = count_by(active, wait, time.time())
        before = replica_set.get("status") or {}
        labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
        full = sum(labels.items() <= (p["metadata"].get("labels") or {}).items() for p in active)
        status: Object = {
            "fullyLabeledReplicas": full,
            "readyReplicas": ready,
            "availableReplicas": available,
            "observedGeneration": replica_set["metadata"].get("generation", 0),
            "conditions": _conditions(before, failure),
        }
        status = {"replicas": len(active), **{k: v for k, v in status.items() if v}}
        if status != before:
            body = {**replica_set, "status": status}
            self._replica_sets.remember(self._client.update(REPLICA_SETS, body, "status"))
        return again


def _wanted(replica_set: Object) -> int:
    value = replica_set["spec"].get("replicas")
    return 1 if value is None else int(value)


def _conditions(before: Object, failure: OutsideError | None) -> list[Object]:
    conditions = list(before.get("conditions") or [])
    if failure is None:
        return [c for c in conditions if c["type"] != "ReplicaFailure"]
    told = {"reason": "FailedCreate", "message": str(failure), "lastTransitionTime": timestamp()}
    return set_condition(conditions, {"type": "ReplicaFailure", "status": "True", **told})
