"""Deployments: one ReplicaSet per pod template, and pods moved from the old ones to the new one step by step.

A translation of pkg/controller/deployment: the decisions are in `rolling` and `deployment_status`; here they are
carried out. Only ReplicaSets whose controller reference names this Deployment count, so `web` and `web-canary`
behind one selector never touch each other's pods.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

from tidegate.errors import NotFound
from tidegate.sim.client import DEPLOYMENTS, PODS, REPLICA_SETS, AlreadyExists, Client, Object
from tidegate.sim.controllers import rolling
from tidegate.sim.controllers.deployment_status import (
    CREATED,
    FOUND,
    PAUSED,
    RESUMED,
    counted,
    deadline,
    is_complete,
    new_condition,
    next_check,
    with_progress,
    with_replica_failure,
)
from tidegate.sim.controllers.pods import (
    HASH_LABEL,
    adopt,
    condition,
    is_deleting,
    owner_reference,
    phase,
    set_condition,
    template_hash,
    without_hash,
)
from tidegate.sim.controllers.rolling import REVISION, Scale, desired, revision
from tidegate.sim.events import NORMAL, WARNING, Recorder
from tidegate.sim.informer import Informers, Key

_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    rolling.DESIRED,
    rolling.MAXIMUM,
    "deprecated.deployment.rollback.to",
}


class DeploymentController:
    """Keeps ReplicaSets and status of every Deployment."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._deployments = informers[DEPLOYMENTS]
        self._replica_sets = informers[REPLICA_SETS]
        self._pods = informers[PODS]
        self._recorder = recorder

    def reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.get(*key)
        if deployment is None:
            return None
        deployment = copy.deepcopy(deployment)
        selector = deployment["spec"].get("selector")
        owned = adopt(self._client, self._replica_sets, deployment, DEPLOYMENTS, selector)
        owned = [s for s in owned if not is_deleting(s)]
        if is_deleting(deployment):
            return self._write_status(deployment, owned, self._find_new(deployment, owned))
        self._note_pause(deployment)
        if deployment["spec"].get("paused") or rolling.is_scaling_event(deployment, owned):
            return self._sync(deployment, owned)
        if rolling.is_rolling(deployment):
            return self._roll(deployment, owned)
        return self._recreate(deployment, owned)

    # -- the three ways ------------------------------------------------------------------------------------

    def _sync(self, deployment: Object, owned: list[Object]) -> float | None:
        """Paused or resized: sizes change, no new ReplicaSet is made."""
        new = self._find_new(deployment, owned)
        old = _others(owned, new)
        if new is not None:
            new = self._annotate(deployment, new, old)
            owned = [*old, new]
        owned = self._apply(deployment, owned, rolling.scale_to(deployment, new, old), mark_all=True)
        return self._write_status(deployment, owned, self._find_new(deployment, owned))

    def _roll(self, deployment: Object, owned: list[Object]) -> float | None:
        new = self._new(deployment, owned)
        old = _others(owned, new)
        steps = rolling.scale_new(deployment, new, [*old, new]) or rolling.scale_old(deployment, new, old)
        owned = self._apply(deployment, [*old, new], steps)
        return self._finish(deployment, owned)

    def _recreate(self, deployment: Object, owned: list[Object]) -> float | None:
        new = self._find_new(deployment, owned)
        old = _others(owned, new)
        active = [Scale(s, 0) for s in old if desired(s) > 0]
        if active:
            owned = self._apply(deployment, owned, active)
        elif not self._old_pods_run(old):
            new = self._new(deployment, owned)
            owned = [*old, new]
            owned = self._apply(deployment, owned, rolling.scale_new(deployment, new, owned))
        return self._finish(deployment, owned)

    def _old_pods_run(self, old: Sequence[Object]) -> bool:
        return any(
            phase(pod) not in ("Succeeded", "Failed")
            for s in old
            for pod in self._pods.controlled_by(s["metadata"]["uid"])
        )

    def _finish(self, deployment: Object, owned: list[Object]) -> float | None:
        new = self._find_new(deployment, owned)
        if is_complete(deployment, counted(deployment, owned, new)):
            self._clean_up(deployment, _others(owned, new))
        return self._write_status(deployment, owned, new)

    # -- ReplicaSets ---------------------------------------------------------------------------------------

    def _find_new(self, deployment: Object, owned: Sequence[Object]) -> Object | None:
        """The ReplicaSet of today's template; the oldest, should there be several."""
        wanted = without_hash(deployment["spec"]["template"])
        same = [s for s in owned if without_hash(s["spec"]["template"]) == wanted]
        return min(same, key=rolling.by_age, default=None)

    def _new(self, deployment: Object, owned: Sequence[Object]) -> Object:
        found = self._find_new(deployment, owned)
        old = _others(owned, found)
        if found is None:
            return self._create(deployment, old)
        found = self._annotate(deployment, found, old)
        if condition(deployment, "Progressing") is None and deadline(deployment) is not None:
            message = f'Found new replica set "{found["metadata"]["name"]}"'
            self._progress(deployment, FOUND, message)
        return found

    def _create(self, deployment: Object, old: Sequence[Object]) -> Object:
        collisions = int((deployment.get("status") or {}).get("collisionCount") or 0)
        body = self._replica_set(deployment, old, template_hash(deployment["spec"]["template"], collisions))
        try:
            created = self._replica_sets.remember(self._client.create(REPLICA_SETS, body))
        except AlreadyExists:
            self._collide(deployment, collisions)
            raise
        name, size = created["metadata"]["name"], desired(created)
        if size:
            told = f"Scaled up replica set {name} from 0 to {size}"
            self._recorder.event(deployment, NORMAL, "ScalingReplicaSet", told)
        self._set_revision(deployment, revision(created))
        if deadline(deployment) is not None:
            self._progress(deployment, CREATED, f'Created new replica set "{name}"')
        return created

    def _collide(self, deployment: Object, collisions: int) -> None:
        """Another object has our name; the next hash differs. Our own late-seen creation is no collision."""
        digest = template_hash(deployment["spec"]["template"], collisions)
        meta = deployment["metadata"]
        live = self._client.get(REPLICA_SETS, meta["namespace"], f"{meta['name']}-{digest}")
        self._replica_sets.remember(live)
        owners = [o.get("uid") for o in live["metadata"].get("ownerReferences") or []]
        same = without_hash(live["spec"]["template"]) == without_hash(deployment["spec"]["template"])
        if meta["uid"] in owners and same:
            return
        body = {
            **deployment,
            "status": {**(deployment.get("status") or {}), "collisionCount": collisions + 1},
        }
        self._deployments.remember(self._client.update(DEPLOYMENTS, body, "status"))

    def _replica_set(self, deployment: Object, old: Sequence[Object], digest: str) -> Object:
        meta, spec = deployment["metadata"], deployment["spec"]
        template = copy.deepcopy(spec["template"])
        labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
        template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
        selector = copy.deepcopy(spec["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
        number = max((revision(s) for s in old), default=0) + 1
        return {
            "metadata": {
                "name": f"{meta['name']}-{digest}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": self._annotations(deployment, str(number)),
                "ownerReferences": [owner_reference(deployment, DEPLOYMENTS)],
            },
            "spec": {
                "replicas": rolling.new_replicas(deployment, None, old),
                "minReadySeconds": spec.get("minReadySeconds", 0),
                "selector": selector,
                "template": template,
            },
        }

    def _annotations(self, deployment: Object, number: str) -> dict[str, str]:
        own = deployment["metadata"].get("annotations") or {}
        return {
            **{k: v for k, v in own.items() if k not in _NOT_COPIED},
            REVISION: number,
            **_sizes(deployment),
        }

    def _annotate(self, deployment: Object, new: Object, old: Sequence[Object]) -> Object:
        """Gives the current ReplicaSet the highest revision (a rollback re-uses an old one) and our annotations."""
        number = max(revision(new), max((revision(s) for s in old), default=0) + 1)
        wanted = self._annotations(deployment, str(number))
        for size in (rolling.DESIRED, rolling.MAXIMUM):
            wanted.pop(size)
        have = new["metadata"].get("annotations") or {}
        body: Object = {}
        missing = {k: v for k, v in wanted.items() if have.get(k) != v}
        if missing:
            if revision(new) and revision(new) != number:
                past = have.get("deployment.kubernetes.io/revision-history", "")
                missing["deployment.kubernetes.io/revision-history"] = f"{past},{revision(new)}".lstrip(",")
            body["metadata"] = {"annotations": missing}
        wait = deployment["spec"].get("minReadySeconds", 0)
        if new["spec"].get("minReadySeconds", 0) != wait:
            body["spec"] = {"minReadySeconds": wait}
        if body:
            new = self._patch(new, body)
        self._set_revision(deployment, number)
        return new

    def _patch(self, replica_set: Object, body: Object) -> Object:
        meta = replica_set["metadata"]
        body.setdefault("metadata", {})["uid"] = meta["uid"]
        patched = self._client.patch(REPLICA_SETS, meta["namespace"], meta["name"], body)
        return self._replica_sets.remember(patched)

    def _apply(
        self, deployment: Object, owned: list[Object], steps: Sequence[Scale], *, mark_all: bool = False
    ) -> list[Object]:
        """Carries out `steps`; the ReplicaSets as they are afterwards. `mark_all` also renews size annotations."""
        targets = {step.replica_set["metadata"]["uid"]: step.replicas for step in steps}
        return [self._resize(deployment, s, targets.get(s["metadata"]["uid"]), mark_all) for s in owned]

    def _resize(self, deployment: Object, found: Object, target: int | None, mark: bool) -> Object:
        have = found["metadata"].get("annotations") or {}
        sizes = _sizes(deployment)
        stale = any(have.get(k) != v for k, v in sizes.items())
        if target is None and not (mark and stale and desired(found) > 0):
            return found
        before = desired(found)
        body: Object = {"metadata": {"annotations": sizes}}
        if target is not None:
            body["spec"] = {"replicas": target}
        patched = self._patch(found, body)
        if target is not None:
            way = "up" if target > before else "down"
            told = f"Scaled {way} replica set {found['metadata']['name']} from {before} to {target}"
            self._recorder.event(deployment, NORMAL, "ScalingReplicaSet", told)
        return patched

    def _clean_up(self, deployment: Object, old: Sequence[Object]) -> None:
        for found in rolling.to_clean_up(deployment, old):
            meta = found["metadata"]
            try:
                self._client.delete(REPLICA_SETS, meta["namespace"], meta["name"], uid=meta["uid"])
            except NotFound:
                continue

    # -- the Deployment itself -----------------------------------------------------------------------------

    def _set_revision(self, deployment: Object, number: int) -> None:
        if not number or revision(deployment) == number:
            return
        meta = deployment["metadata"]
        body = {"metadata": {"uid": meta["uid"], "annotations": {REVISION: str(number)}}}
        patched = self._client.patch(DEPLOYMENTS, meta["namespace"], meta["name"], body)
        self._deployments.remember(patched)
        deployment["metadata"] = copy.deepcopy(patched["metadata"])

    def _progress(self, deployment: Object, reason: str, message: str, status: str = "True") -> None:
        """Sets the Progressing condition in memory; the status write at the end of the round carries it."""
        current = deployment.setdefault("status", {})
        before = list(current.get("conditions") or [])
        current["conditions"] = set_condition(before, new_condition("Progressing", status, reason, message))

    def _note_pause(self, deployment: Object) -> None:
        if deadline(deployment) is None:
            return
        current = condition(deployment, "Progressing") or {}
        paused = bool(deployment["spec"].get("paused"))
        if current.get("reason") == "ProgressDeadlineExceeded":
            return
        if paused and current.get("reason") != PAUSED:
            self._progress(deployment, PAUSED, "Deployment is paused", "Unknown")
        elif not paused and current.get("reason") == PAUSED:
            self._progress(deployment, RESUMED, "Deployment is resumed", "Unknown")

    def _write_status(self, deployment: Object, owned: Sequence[Object], new: Object | None) -> float | None:
        now = time.time()
        live = self._deployments.get(deployment["metadata"]["namespace"], deployment["metadata"]["name"])
        status = counted(deployment, owned, new)
        if not deployment["spec"].get("paused"):
            status = with_progress(deployment, status, new, now)
        status = with_replica_failure(status, owned)
        if live is not None and live.get("status") != status:
            self._tell(deployment, live, status)
            self._deployments.remember(
                self._client.update(DEPLOYMENTS, {**deployment, "status": status}, "status")
            )
        return next_check(deployment, status, now)

    def _tell(self, deployment: Object, live: Object, status: Object) -> None:
        after = condition({"status": status}, "Progressing") or {}
        before = condition(live, "Progressing") or {}
        if after.get("reason") == "ProgressDeadlineExceeded" != before.get("reason"):
            self._recorder.event(deployment, WARNING, "ProgressDeadlineExceeded", after["message"])


def _others(owned: Sequence[Object], new: Object | None) -> list[Object]:
    uid = new["metadata"]["uid"] if new is not None else None
    return [s for s in owned if s["metadata"]["uid"] != uid]


def _sizes(deployment: Object) -> dict[str, str]:
    want = desired(deployment)
    return {rolling.DESIRED: str(want), rolling.MAXIMUM: str(want + rolling.fenceposts(deployment)[0])}
