"""One pod on this node: prepared, its containers run in order, its status told, and in the end stopped and removed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import NotFound, OutsideError
from tidegate.sim.client import CONFIG_MAPS, PODS, SECRETS, Client, Object, timestamp
from tidegate.sim.controllers.pods import is_deleting
from tidegate.sim.events import WARNING
from tidegate.sim.node.container import Container, Machine, PodContext
from tidegate.sim.node.environment import ConfigError
from tidegate.sim.node.network import Address, PodNetwork, container_ports
from tidegate.sim.node.status import ContainerState, init_failed, is_sidecar, pod_status
from tidegate.sim.node.volumes import is_refreshed, prepare

log = logging.getLogger(__name__)

REFRESH_SECONDS = 60.0
"""How often ConfigMap and Secret volumes are brought up to date (kubelet: 60 to 90 s)."""


@dataclass(frozen=True, slots=True)
class Node:
    """What every pod of the node uses."""

    client: Client
    machine: Machine
    network: PodNetwork
    pods: Path
    claims: Path


class PodWorker:
    """Runs one pod. All methods are called on the agent's loop."""

    def __init__(self, node: Node, pod: Object) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self._node = node
        self._folder = node.pods / self.uid
        self._folder.mkdir(parents=True, exist_ok=True)
        saved = load(self._folder)
        self._start_time: str = saved.get("startTime") or timestamp()
        self._address = address_of(saved)
        self._initialized: bool = saved.get("initialized", False)
        self._init = _states(pod["spec"].get("initContainers") or [], saved)
        self._states = _states(pod["spec"].get("containers") or [], saved)
        self.containers: dict[str, Container] = {}
        self._dirty = asyncio.Event()
        self._published: Object | None = None
        self._removing: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[Any]] = []
        self._publisher = asyncio.ensure_future(self._publish_changes())
        self._main = asyncio.ensure_future(self._run())

    # -- running -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            context = await self._prepare()
            if is_refreshed(self.pod):
                self._background.append(asyncio.ensure_future(self._refresh_volumes(context.address)))
            await self._run_containers(context)
        except Exception:
            log.exception("pod %s failed in the node agent", self.pod["metadata"]["name"])
        finally:
            for task in self._background:
                task.cancel()

    async def _prepare(self) -> PodContext:
        """Address and volumes; waits until the ConfigMaps and Secrets it needs are there."""
        address = await self._give_address()
        while True:
            try:
                folders = await self._volumes(address)
            except (OutsideError, OSError) as error:
                told = f"MountVolume.SetUp failed: {error}"
                self._node.machine.recorder.event(self.pod, WARNING, "FailedMount", told)
                self._changed()
                await asyncio.sleep(2.0)
            else:
                return PodContext(lambda: self.pod, address, folders, self._lookup, self._changed)

    async def _volumes(self, address: Address) -> dict[str, Path]:
        return await self._node.machine.blocking(
            prepare, self.pod, self._folder / "volumes", address, self._lookup, self._claim
        )

    async def _refresh_volumes(self, address: Address) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._volumes(address)
            except (OutsideError, OSError) as error:
                log.debug("pod %s: volumes not refreshed: %s", self.pod["metadata"]["name"], error)

    async def _give_address(self) -> Address:
        if self._address is None:
            ports = container_ports(self.pod)
            self._address = await self._node.machine.blocking(self._node.network.allot, self.uid, ports)
            self._changed()
        annotations = self._address.annotations(_metrics_port(self.pod))
        have = self.pod["metadata"].get("annotations") or {}
        while any(have.get(k) != v for k, v in annotations.items()):
            try:
                self.pod = await self._patch({"metadata": {"annotations": annotations}})
                break
            except OutsideError as error:
                log.debug("pod %s: %s", self.pod["metadata"]["name"], error)
                await asyncio.sleep(1.0)
        return self._address

    async def _run_containers(self, context: PodContext) -> None:
        policy = self.pod["spec"].get("restartPolicy") or "Always"
        for spec, state in zip(self.pod["spec"].get("initContainers") or [], self._init, strict=True):
            container = self._add(context, spec, state)
            if is_sidecar(spec):
                self._background.append(asyncio.ensure_future(container.keep("Always")))
                await container.up.wait()
            elif not self._initialized:
                await container.keep("OnFailure" if policy != "Never" else "Never")
                if init_failed(self.pod, self._init):
                    self._changed()
                    return
        self._initialized = True
        self._changed()
        mine = [
            self._add(context, spec, state)
            for spec, state in zip(self.pod["spec"].get("containers") or [], self._states, strict=True)
        ]
        await asyncio.gather(*(container.keep(policy) for container in mine))
        self._changed()

    def _add(self, context: PodContext, spec: Mapping[str, Any], state: ContainerState) -> Container:
        folder = self._folder / "containers" / spec["name"]
        folder.mkdir(parents=True, exist_ok=True)
        container = Container(self._node.machine, context, spec, state, folder)
        self.containers[spec["name"]] = container
        return container

    def _lookup(self, kind: str, name: str) -> Object:
        resource = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS}[kind]
        found = self._node.client.get(resource, self.pod["metadata"]["namespace"], name)
        found.setdefault("kind", kind)
        return found

    def _claim(self, name: str) -> Path:
        namespace = self.pod["metadata"]["namespace"]
        if "/" in name or name in ("", ".", ".."):
            raise ConfigError(f"claim name {name!r} is not usable")
        return self._node.claims / f"{namespace}_{name}"

    # -- telling -------------------------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """Takes over what the API server says about the pod."""
        self.pod = pod
        if is_deleting(pod):
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            self.remove(30.0 if grace is None else float(grace))

    def _changed(self) -> None:
        self._save()
        self._dirty.set()

    def _save(self) -> None:
        part = self._folder / "pod.json.new"
        meta = self.pod["metadata"]
        saved = {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "startTime": self._start_time,
            "initialized": self._initialized,
            "address": dataclasses.asdict(self._address) if self._address else None,
            "containers": {s.name: dataclasses.asdict(s) for s in (*self._init, *self._states)},
        }
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(saved))
            part.replace(self._folder / "pod.json")

    async def _publish_changes(self) -> None:
        """Writes the status whenever it differs from what was written last; several changes may become one."""
        delay = 0.2
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            status = self._status()
            if status == self._published:
                continue
            try:
                await self._patch({"status": status}, "status")
                self._published, delay = status, 0.2
            except NotFound:
                continue
            except OutsideError as error:
                log.debug("pod %s: status not written: %s", self.pod["metadata"]["name"], error)
                self._dirty.set()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 10.0)

    def _status(self) -> Object:
        base = {**self.pod, "status": self._published or self.pod.get("status") or {}}
        return pod_status(
            base,
            self._init,
            self._states,
            ip=self._address.ip if self._address else "",
            initialized=self._initialized,
            start_time=self._start_time,
        )

    async def _patch(self, body: Object, subresource: str = "") -> Object:
        meta = self.pod["metadata"]
        body = {**body, "metadata": {**(body.get("metadata") or {}), "uid": self.uid}}
        return await self._node.machine.blocking(
            self._node.client.patch, PODS, meta["namespace"], meta["name"], body, subresource
        )

    # -- stopping ------------------------------------------------------------------------------------------

    def remove(self, grace: float) -> asyncio.Task[None]:
        """Stops the containers, then lets the API server forget the pod. Called again: the same task."""
        if self._removing is None:
            self._removing = asyncio.ensure_future(self._remove(grace))
        return self._removing

    async def _remove(self, grace: float) -> None:
        await self._halt(grace, hooks=True)
        self._publisher.cancel()
        meta = self.pod["metadata"]
        delay = 0.2
        while True:
            try:
                await self._node.machine.blocking(self._delete, meta["namespace"], meta["name"])
                return
            except NotFound:
                return
            except OutsideError as error:
                log.debug("pod %s: not yet deleted: %s", meta["name"], error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 10.0)

    def _delete(self, namespace: str, name: str) -> None:
        self._node.client.delete(PODS, namespace, name, uid=self.uid, grace_seconds=0)

    async def _halt(self, grace: float, *, hooks: bool) -> None:
        stops = [asyncio.ensure_future(c.stop(grace, hooks=hooks)) for c in self._in_stop_order()]
        await asyncio.gather(*stops, return_exceptions=True)
        self._main.cancel()
        await asyncio.gather(self._main, return_exceptions=True)
        # Nothing starts any more; whatever the cancelled task had just begun goes too.
        await asyncio.gather(
            *(c.stop(0.0, hooks=False) for c in self.containers.values()), return_exceptions=True
        )

    def _in_stop_order(self) -> Sequence[Container]:
        return list(reversed(list(self.containers.values())))

    async def clean(self, grace: float) -> None:
        """The pod is gone from the API server: ends what still runs and removes every trace."""
        if self._removing is not None:
            await asyncio.gather(self._removing, return_exceptions=True)
        else:
            await self._halt(grace, hooks=False)
            self._publisher.cancel()
        self._node.network.release(self.uid)
        await self._node.machine.blocking(shutil.rmtree, self._folder, True)

    async def shut_down(self, grace: float) -> None:
        """The agent ends: processes stop, the pod stays; the next agent starts them again."""
        for state in (*self._init, *self._states):
            state.interrupted = state.running
        self._save()
        self._publisher.cancel()
        self._main.cancel()
        for task in self._background:
            task.cancel()
        await asyncio.gather(self._main, *self._background, return_exceptions=True)
        await asyncio.gather(
            *(c.stop(grace, hooks=False) for c in self.containers.values()), return_exceptions=True
        )
        if self._removing is not None:
            self._removing.cancel()

    def rotate_logs(self) -> None:
        for container in self.containers.values():
            container.rotate_log()


def load(folder: Path) -> Object:
    """What an earlier agent wrote about the pod; empty when nothing."""
    try:
        saved: Object = json.loads((folder / "pod.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return saved


def address_of(saved: Object) -> Address | None:
    found = saved.get("address")
    if not found:
        return None
    return Address(found["ip"], {int(k): int(v) for k, v in (found.get("ports") or {}).items()})


def _states(containers: Sequence[Mapping[str, Any]], saved: Object) -> list[ContainerState]:
    known = saved.get("containers") or {}
    return [
        ContainerState(**known[c["name"]])
        if c["name"] in known
        else ContainerState(c["name"], image=c.get("image", ""))
        for c in containers
    ]


def _metrics_port(pod: Object) -> int | None:
    """The port Prometheus is meant to ask: the annotated one, the one named `metrics`, or the first."""
    ports = container_ports(pod)
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == "metrics":
                return int(port["containerPort"])
    return ports[0] if ports else None
