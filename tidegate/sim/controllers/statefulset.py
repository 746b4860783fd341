"""StatefulSets: pods with names and order, one after the other, updated from the highest ordinal down."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from tidegate.sim.client import CLAIMS, PODS, REVISIONS, STATEFUL_SETS, AlreadyExists, Client, Object
from tidegate.sim.controllers.pods import (
    PodControl,
    adopt,
    available_in,
    count_by,
    is_deleting,
    is_ready,
    owner_reference,
    phase,
    pod_from,
    template_hash,
)
from tidegate.sim.events import NORMAL, Recorder
from tidegate.sim.informer import Informers, Key

REVISION_LABEL = "controller-revision-hash"
NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


class StatefulSetController:
    """Keeps the pods, claims, revisions and status of every StatefulSet."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._sets = informers[STATEFUL_SETS]
        self._pods = informers[PODS]
        self._claims = informers[CLAIMS]
        self._recorder = recorder
        self._control = PodControl(client, self._pods, recorder, STATEFUL_SETS)

    def reconcile(self, key: Key) -> float | None:
        found = self._sets.get(*key)
        if found is None:
            return None
        stateful = copy.deepcopy(found)
        update, current = self._revisions(stateful)
        if not is_deleting(stateful):
            owned = adopt(self._client, self._pods, stateful, STATEFUL_SETS, stateful["spec"].get("selector"))
            self._step(stateful, {ordinal(p): p for p in owned}, update, current)
        return self._write_status(stateful, update, current)

    # -- pods ----------------------------------------------------------------------------------------------

    def _step(self, stateful: Object, pods: Mapping[int, Object], update: str, current: str) -> None:
        """As much as the order allows now: create upwards, remove and update downwards, one at a time."""
        spec = stateful["spec"]
        wanted = replicas(stateful)
        first = int((spec.get("ordinals") or {}).get("start") or 0)
        parallel = spec.get("podManagementPolicy") == "Parallel"
        for number in range(first, first + wanted):
            pod = pods.get(number)
            if pod is not None and phase(pod) in ("Failed", "Succeeded") and not is_deleting(pod):
                self._control.delete(stateful, pod)
                return
            if pod is None:
                self._create(stateful, number, self._revision_for(stateful, number - first, update, current))
            if not parallel and (pod is None or not self._settled(stateful, pod)):
                return
        surplus = sorted((n for n in pods if not first <= n < first + wanted), reverse=True)
        for number in surplus:
            if not is_deleting(pods[number]):
                self._control.delete(stateful, pods[number])
            if not parallel:
                return
        if not surplus:
            self._roll(stateful, pods, update, first)

    def _settled(self, stateful: Object, pod: Object) -> bool:
        wait = available_in(pod, int(stateful["spec"].get("minReadySeconds") or 0), time.time())
        return wait == 0.0 and not is_deleting(pod)

    def _roll(self, stateful: Object, pods: Mapping[int, Object], update: str, first: int) -> None:
        strategy = stateful["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        for number in sorted(pods, reverse=True):
            pod = pods[number]
            if number - first < partition:
                return
            if revision_of(pod) != update and not is_deleting(pod):
                self._control.delete(stateful, pod)
                return
            if not self._settled(stateful, pod):
                return

    def _revision_for(self, stateful: Object, index: int, update: str, current: str) -> str:
        strategy = stateful["spec"].get("updateStrategy") or {}
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        return current if index < partition else update

    def _create(self, stateful: Object, number: int, revision: str) -> None:
        name = f"{stateful['metadata']['name']}-{number}"
        template = self._template(stateful, revision)
        labels = {REVISION_LABEL: revision, NAME_LABEL: name, INDEX_LABEL: str(number)}
        pod = pod_from(stateful, STATEFUL_SETS, template, name=name, labels=labels)
        spec = pod["spec"]
        spec["hostname"] = name
        spec["subdomain"] = stateful["spec"].get("serviceName") or ""
        claims = stateful["spec"].get("volumeClaimTemplates") or []
        mounted = {c["metadata"]["name"]: f"{c['metadata']['name']}-{name}" for c in claims}
        others = [v for v in spec.get("volumes") or [] if v["name"] not in mounted]
        own = [{"name": v, "persistentVolumeClaim": {"claimName": c}} for v, c in mounted.items()]
        if others or own:
            spec["volumes"] = [*others, *own]
        for claim in claims:
            self._claim(stateful, claim, mounted[claim["metadata"]["name"]])
        try:
            self._control.create(stateful, pod)
        except AlreadyExists:
            self._pods.remember(self._client.get(PODS, stateful["metadata"]["namespace"], name))
            raise

    def _claim(self, stateful: Object, template: Object, name: str) -> None:
        namespace = stateful["metadata"]["namespace"]
        if self._claims.get(namespace, name) is not None:
            return
        labels = (stateful["spec"].get("selector") or {}).get("matchLabels") or {}
        body = {
            "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
            "spec": copy.deepcopy(template["spec"]),
        }
        try:
            self._claims.remember(self._client.create(CLAIMS, body))
        except AlreadyExists:
            return
        told = f"create Claim {name} in StatefulSet {stateful['metadata']['name']} successful"
        self._recorder.event(stateful, NORMAL, "SuccessfulCreate", told)

    # -- revisions -----------------------------------------------------------------------------------------

    def _revisions(self, stateful: Object) -> tuple[str, str]:
        """(update, current) revision names; a ControllerRevision keeps each template."""
        name = f"{stateful['metadata']['name']}-{template_hash(stateful['spec']['template'])}"
        status = stateful.get("status") or {}
        if status.get("updateRevision") != name:
            self._keep_revision(stateful, name)
        return name, status.get("currentRevision") or name

    def _keep_revision(self, stateful: Object, name: str) -> None:
        meta = stateful["metadata"]
        body = {
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": {
                    **((stateful["spec"].get("selector") or {}).get("matchLabels") or {}),
                    REVISION_LABEL: name,
                },
                "ownerReferences": [owner_reference(stateful, STATEFUL_SETS)],
            },
            "data": {"spec": {"template": stateful["spec"]["template"]}},
            "revision": int(meta.get("generation") or 1),
        }
        try:
            self._client.create(REVISIONS, body)
        except AlreadyExists:
            return

    def _template(self, stateful: Object, revision: str) -> Object:
        own: Object = stateful["spec"]["template"]
        if revision.endswith(template_hash(own)):
            return own
        kept = self._client.get(REVISIONS, stateful["metadata"]["namespace"], revision)
        found: Object = kept["data"]["spec"]["template"]
        return found

    # -- status --------------------------------------------------------------------------------------------

    def _write_status(self, stateful: Object, update: str, current: str) -> float | None:
        pods = [p for p in self._pods.controlled_by(stateful["metadata"]["uid"]) if not is_deleting(p)]
        ready, available, again = count_by(
            pods, int(stateful["spec"].get("minReadySeconds") or 0), time.time()
        )
        updated = sum(revision_of(p) == update for p in pods)
        wanted = replicas(stateful)
        if updated == wanted and len(pods) == wanted and all(is_ready(p) for p in pods):
            current = update
        status: Object = {
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": available,
            "currentReplicas": sum(revision_of(p) == current for p in pods),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": update,
            "observedGeneration": stateful["metadata"].get("generation", 0),
            "collisionCount": 0,
        }
        kept = {
            k: v for k, v in status.items() if v or k in ("replicas", "availableReplicas", "collisionCount")
        }
        if kept != stateful.get("status"):
            self._sets.remember(self._client.update(STATEFUL_SETS, {**stateful, "status": kept}, "status"))
        return again


def replicas(stateful: Object) -> int:
    value = stateful["spec"].get("replicas")
    return 1 if value is None else int(value)


def ordinal(pod: Object) -> int:
    number = pod["metadata"]["name"].rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def revision_of(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))
