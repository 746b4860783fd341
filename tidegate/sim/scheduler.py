"""The scheduler: binds each waiting pod to a node that is ready and matches its nodeSelector, the emptiest first."""

from __future__ import annotations

from tidegate.errors import Rejected
from tidegate.sim.client import NODES, PODS, Client, Object, timestamp
from tidegate.sim.controllers.pods import condition, is_active, is_deleting, is_ready
from tidegate.sim.events import NORMAL, WARNING, Recorder
from tidegate.sim.informer import Informers, Key

NAME = "default-scheduler"


class Scheduler:
    """A reconciler for pods without a node."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._pods = informers[PODS]
        self._nodes = informers[NODES]
        self._recorder = recorder

    def waiting(self) -> list[Key]:
        """Pods to look at again when a node has changed."""
        return [
            (p["metadata"]["namespace"], p["metadata"]["name"]) for p in self._pods.all() if is_unscheduled(p)
        ]

    def reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        if pod is None or not is_unscheduled(pod):
            return None
        nodes = self._nodes.all()
        fitting = [n for n in nodes if fits(pod, n)]
        if not fitting:
            self._refuse(pod, len(nodes))
            return None
        self._bind(pod, min(fitting, key=self._load)["metadata"]["name"])
        return None

    def _load(self, node: Object) -> tuple[int, str]:
        name = node["metadata"]["name"]
        return sum(p["spec"].get("nodeName") == name and is_active(p) for p in self._pods.all()), name

    def _bind(self, pod: Object, node: str) -> None:
        meta = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            self._client.request("POST", PODS.path(meta["namespace"], meta["name"], "binding"), body)
        except Rejected:  # an API server without that subresource
            chosen = {"metadata": {"uid": meta["uid"]}, "spec": {"nodeName": node}}
            self._pods.remember(self._client.patch(PODS, meta["namespace"], meta["name"], chosen))
        told = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        self._recorder.event(pod, NORMAL, "Scheduled", told)

    def _refuse(self, pod: Object, nodes: int) -> None:
        message = f"0/{nodes} nodes are available: none is ready and matches the pod's node selector."
        known = condition(pod, "PodScheduled") or {}
        if known.get("message") == message:
            return
        told = {"reason": "Unschedulable", "message": message, "lastTransitionTime": timestamp()}
        conditions = [{"type": "PodScheduled", "status": "False", **told}]
        meta = pod["metadata"]
        try:
            body = {"status": {"conditions": conditions}}
            self._pods.remember(self._client.patch(PODS, meta["namespace"], meta["name"], body, "status"))
        finally:
            self._recorder.event(pod, WARNING, "FailedScheduling", message)


def is_unscheduled(pod: Object) -> bool:
    name = pod["spec"].get("schedulerName") or NAME
    return not pod["spec"].get("nodeName") and is_active(pod) and name == NAME


def fits(pod: Object, node: Object) -> bool:
    """Ready, schedulable, and carrying every label of the pod's nodeSelector."""
    if is_deleting(node) or (node.get("spec") or {}).get("unschedulable") or not is_ready(node):
        return False
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(k) == v for k, v in (pod["spec"].get("nodeSelector") or {}).items())
