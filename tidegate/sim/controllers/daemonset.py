"""DaemonSets: one pod on each fitting node, replaced a few at a time."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

from tidegate.sim.client import DAEMON_SETS, NODES, PODS, Client, Object
from tidegate.sim.controllers.pods import (
    PodControl,
    adopt,
    count_by,
    is_active,
    is_deleting,
    is_ready,
    phase,
    pod_from,
    template_hash,
)
from tidegate.sim.controllers.rolling import amount
from tidegate.sim.controllers.statefulset import REVISION_LABEL, revision_of
from tidegate.sim.events import Recorder
from tidegate.sim.informer import Informers, Key
from tidegate.sim.scheduler import fits


class DaemonSetController:
    """Keeps the pods and the status of every DaemonSet."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._sets = informers[DAEMON_SETS]
        self._pods = informers[PODS]
        self._nodes = informers[NODES]
        self._control = PodControl(client, self._pods, recorder, DAEMON_SETS)

    def reconcile(self, key: Key) -> float | None:
        found = self._sets.get(*key)
        if found is None:
            return None
        daemon = copy.deepcopy(found)
        digest = template_hash(daemon["spec"]["template"])
        nodes = [n["metadata"]["name"] for n in self._nodes.all() if _runs_on(daemon, n)]
        if not is_deleting(daemon):
            owned = adopt(self._client, self._pods, daemon, DAEMON_SETS, daemon["spec"].get("selector"))
            self._place(daemon, owned, nodes, digest)
            self._roll(daemon, nodes, digest)
        return self._write_status(daemon, nodes, digest)

    def _place(self, daemon: Object, owned: Sequence[Object], nodes: Sequence[str], digest: str) -> None:
        """One pod per node: dead and surplus ones go, missing ones are created."""
        covered = set()
        for pod in sorted(owned, key=lambda p: (not is_ready(p), p["metadata"]["name"])):
            node = _node_of(pod)
            if is_deleting(pod):
                covered.add(node)  # its successor comes when it has gone
            elif phase(pod) in ("Failed", "Succeeded") or node not in nodes or node in covered:
                self._control.delete(daemon, pod)
            else:
                covered.add(node)
        for node in nodes:
            if node not in covered:
                self._create(daemon, node, digest)

    def _create(self, daemon: Object, node: str, digest: str) -> None:
        pod = pod_from(daemon, DAEMON_SETS, daemon["spec"]["template"], labels={REVISION_LABEL: digest})
        terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        affinity = pod["spec"].setdefault("affinity", {})
        affinity["nodeAffinity"] = required
        pod["spec"]["nodeName"] = node
        self._control.create(daemon, pod)

    def _roll(self, daemon: Object, nodes: Sequence[str], digest: str) -> None:
        strategy = daemon["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        value = (strategy.get("rollingUpdate") or {}).get("maxUnavailable")
        budget = max(amount(value, len(nodes), round_up=True, default="1"), 1)
        live = [p for p in self._pods.controlled_by(daemon["metadata"]["uid"]) if is_active(p)]
        budget -= len(nodes) - sum(is_ready(p) for p in live)
        for pod in live:
            if revision_of(pod) == digest:
                continue
            if not is_ready(pod) or budget > 0:
                budget -= is_ready(pod)
                self._control.delete(daemon, pod)

    def _write_status(self, daemon: Object, nodes: Sequence[str], digest: str) -> float | None:
        live = [p for p in self._pods.controlled_by(daemon["metadata"]["uid"]) if is_active(p)]
        placed = [p for p in live if _node_of(p) in nodes]
        ready, available, again = count_by(
            placed, int(daemon["spec"].get("minReadySeconds") or 0), time.time()
        )
        status: Object = {
            "currentNumberScheduled": len(placed),
            "numberMisscheduled": len(live) - len(placed),
            "desiredNumberScheduled": len(nodes),
            "numberReady": ready,
            "observedGeneration": daemon["metadata"].get("generation", 0),
        }
        optional = {
            "updatedNumberScheduled": sum(revision_of(p) == digest for p in placed),
            "numberAvailable": available,
            "numberUnavailable": max(len(nodes) - available, 0),
        }
        status |= {k: v for k, v in optional.items() if v}
        if status != daemon.get("status"):
            self._sets.remember(self._client.update(DAEMON_SETS, {**daemon, "status": status}, "status"))
        return again


def _runs_on(daemon: Object, node: Object) -> bool:
    """Daemons ignore `unschedulable`, as upstream's tolerations let them."""
    schedulable = {**node, "spec": {**(node.get("spec") or {}), "unschedulable": False}}
    return fits({"spec": daemon["spec"]["template"]["spec"]}, schedulable)


def _node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")
