"""The controllers: what kube-controller-manager does for the kinds Tidegate delivers, against any API server."""

from __future__ import annotations

from tidegate.sim.client import (
    CLAIMS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    VOLUMES,
    Client,
    Object,
    Resource,
)
from tidegate.sim.controllers.claims import ClaimController, VolumeController
from tidegate.sim.controllers.daemonset import DaemonSetController
from tidegate.sim.controllers.deployment import DeploymentController
from tidegate.sim.controllers.endpointslice import SERVICE_LABEL, EndpointSliceController
from tidegate.sim.controllers.job import JobController
from tidegate.sim.controllers.replicaset import ReplicaSetController
from tidegate.sim.controllers.statefulset import StatefulSetController
from tidegate.sim.controllers.workqueue import WorkQueue
from tidegate.sim.events import Recorder
from tidegate.sim.informer import Informer, Informers, controller_of, key_of
from tidegate.sim.scheduler import Scheduler

_OWNERS = {r.kind: r for r in (REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS)}


class Controllers:
    """All controllers and the scheduler on one work queue. `informers` are started by their owner."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._queue = WorkQueue("controllers")
        self._recorders = [Recorder(client, n) for n in ("controller-manager", "default-scheduler")]
        events, scheduling = self._recorders
        self._deployments = DeploymentController(client, informers, events.named("deployment-controller"))
        self._endpoints = EndpointSliceController(client, informers)
        self._scheduler = Scheduler(client, informers, scheduling)
        self._pods = informers[PODS]
        self._replica_sets = informers[REPLICA_SETS]
        for resource, reconcile in (
            (DEPLOYMENTS, self._deployments.reconcile),
            (
                REPLICA_SETS,
                ReplicaSetController(client, informers, events.named("replicaset-controller")).reconcile,
            ),
            (
                STATEFUL_SETS,
                StatefulSetController(client, informers, events.named("statefulset-controller")).reconcile,
            ),
            (
                DAEMON_SETS,
                DaemonSetController(client, informers, events.named("daemonset-controller")).reconcile,
            ),
            (JOBS, JobController(client, informers, events.named("job-controller")).reconcile),
            (SERVICES, self._endpoints.reconcile),
            (CLAIMS, ClaimController(client, informers).reconcile),
            (VOLUMES, VolumeController(client, informers).reconcile),
            (PODS, self._scheduler.reconcile),
        ):
            self._queue.register(resource.plural, reconcile)
            if resource is not PODS:
                self._follow(informers[resource], resource)
        self._orphan_makers = {r: informers[r] for r in (REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS)}
        informers[PODS].on_change(self._pod_changed)
        informers[REPLICA_SETS].on_change(self._replica_set_changed)
        informers[ENDPOINT_SLICES].on_change(self._slice_changed)
        informers[NODES].on_change(self._node_changed)

    def start(self) -> None:
        self._queue.start()

    def stop(self) -> None:
        self._queue.stop()
        for recorder in self._recorders:
            recorder.stop()

    def _follow(self, informer: Informer, resource: Resource) -> None:
        informer.on_change(lambda _, obj: self._queue.add(resource.plural, key_of(obj)))

    def _pod_changed(self, change: str, pod: Object) -> None:
        key = key_of(pod)
        if not pod["spec"].get("nodeName") and change != "DELETED":
            self._queue.add(PODS.plural, key)
        owner = controller_of(pod)
        if owner is None:
            self._offer_to_owners(pod)
        elif owner["kind"] in _OWNERS:
            self._queue.add(_OWNERS[owner["kind"]].plural, (key[0], owner["name"]))
        if change == "DELETED" and owner is not None and owner["kind"] == "ReplicaSet":
            self._wake_deployment(key[0], owner["name"])
        for service in self._endpoints.services_of(pod):
            self._queue.add(SERVICES.plural, service)
        for volume in pod["spec"].get("volumes") or ():
            if claim := volume.get("persistentVolumeClaim"):
                self._queue.add(CLAIMS.plural, (key[0], claim["claimName"]))

    def _offer_to_owners(self, orphan: Object) -> None:
        """Somebody's selector may match: adoption is theirs to decide."""
        if not orphan["metadata"].get("labels"):
            return
        for resource, informer in self._orphan_makers.items():
            for found in informer.all(orphan["metadata"]["namespace"]):
                self._queue.add(resource.plural, key_of(found))

    def _wake_deployment(self, namespace: str, replica_set: str) -> None:
        """Recreate waits for the last old pod to be gone."""
        found = self._replica_sets.get(namespace, replica_set)
        owner = controller_of(found) if found else None
        if owner is not None:
            self._queue.add(DEPLOYMENTS.plural, (namespace, owner["name"]))

    def _replica_set_changed(self, _: str, replica_set: Object) -> None:
        owner = controller_of(replica_set)
        if owner is not None and owner["kind"] == "Deployment":
            self._queue.add(DEPLOYMENTS.plural, (key_of(replica_set)[0], owner["name"]))

    def _slice_changed(self, _: str, item: Object) -> None:
        service = (item["metadata"].get("labels") or {}).get(SERVICE_LABEL)
        if service:
            self._queue.add(SERVICES.plural, (item["metadata"]["namespace"], service))

    def _node_changed(self, change: str, node: Object) -> None:
        for key in self._scheduler.waiting():
            self._queue.add(PODS.plural, key)
        for found in self._orphan_makers[DAEMON_SETS].all():
            self._queue.add(DAEMON_SETS.plural, key_of(found))
