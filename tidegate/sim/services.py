"""Services as loopback proxies: each TCP port of a Service answers on 127.0.0.1 and spreads connections over pods.

A cluster IP cannot be bound without root, so the address is published on the Service itself: annotation
`tidegate.dev/local-address` (`127.0.0.1:PORT`) for its first port, `tidegate.dev/local-address-<name or number>` for
each, and a LoadBalancer's ingress address. Ports stay the same across restarts where they are still free. Pods
learn them as the usual `<SERVICE>_SERVICE_HOST` and `<SERVICE>_SERVICE_PORT`.

Every connection goes to a random ready pod, as kube-proxy does, so replica counts are weights and neighbouring
requests are independent draws. A pod that refuses the connection is passed over for another; one that stops being
ready gets no new connections, and keeps those it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from tidegate.errors import OutsideError
from tidegate.sim.client import ENDPOINT_SLICES, PODS, SERVICES, Client, Object
from tidegate.sim.controllers.endpointslice import SERVICE_LABEL
from tidegate.sim.controllers.pods import is_deleting, is_ready
from tidegate.sim.informer import Informers, Key, key_of
from tidegate.sim.loop import LoopThread

log = logging.getLogger(__name__)

ADDRESS = "tidegate.dev/local-address"
HOST = "127.0.0.1"
CONNECT_SECONDS = 2.0
Backend = tuple[str, int]
PortKey = tuple[str, str, str]
"""(namespace, service, port name or number)."""


class Pipe(asyncio.Protocol):
    """One direction's end: what arrives here is written to `peer`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: Pipe | None = None
        self.ended = False
        """The other side has said all it will say."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """Passes a half-close on; when both sides have ended, both transports close."""
        self.ended = True
        if self.peer is None or self.peer.transport is None:
            return False
        if self.peer.ended or not self.peer.transport.can_write_eof():
            self.peer.transport.close()
            return False
        self.peer.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer is None or self.peer.transport is None:
            return
        if error is None:
            self.peer.transport.close()
        else:
            self.peer.transport.abort()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()


class Front(Pipe):
    """A client's end: connects to a backend before it reads."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.transport is not None:
            self.transport.pause_reading()
        task = asyncio.ensure_future(self._connect())
        self._listener.connecting.add(task)
        task.add_done_callback(self._listener.connecting.discard)

    async def _connect(self) -> None:
        back = await self._listener.connect()
        if self.transport is None or self.transport.is_closing() or back is None:
            if back is not None and back.transport is not None:
                back.transport.abort()
            if self.transport is not None:
                self.transport.abort()
            return
        self.peer, back.peer = back, self
        self.transport.resume_reading()
        if back.transport is not None:
            back.transport.resume_reading()


class Back(Pipe):
    """A pod's end: silent until both ends know each other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.transport is not None:
            self.transport.pause_reading()


class Listener:
    """One Service port on 127.0.0.1. `backends` may be replaced at any time."""

    def __init__(self) -> None:
        self.backends: Sequence[Backend] = ()
        self.connecting: set[asyncio.Task[None]] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        """On `port` if it is free, else on any."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Front(self), HOST, port, backlog=512)
        except OSError:
            self._server = await loop.create_server(lambda: Front(self), HOST, 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def connect(self) -> Back | None:
        """A connection to a random backend; one that does not answer is passed over."""
        loop = asyncio.get_running_loop()
        candidates = random.sample(self.backends, len(self.backends))
        for host, port in candidates:
            try:
                _, back = await asyncio.wait_for(loop.create_connection(Back, host, port), CONNECT_SECONDS)
            except (OSError, TimeoutError):
                continue
            return back
        return None


class ServiceProxies:
    """Keeps a listener per Service port; `start` after the informers are made, before they start."""

    def __init__(self, client: Client, informers: Informers, home: Path) -> None:
        self._client = client
        self._services = informers[SERVICES]
        self._slices = informers[ENDPOINT_SLICES]
        self._pods = informers[PODS]
        self._services.on_change(lambda _, s: self._touch(key_of(s)))
        self._slices.on_change(lambda _, s: self._touch(_service_of(s)))
        self._pods.on_change(self._pod_changed)
        self._listeners: dict[PortKey, Listener] = {}
        self._state = home / "services.json"
        self._ports: dict[str, int] = self._load()
        self._dirty: set[Key] = set()
        self._announcing: dict[Key, asyncio.Task[None]] = {}
        self._work: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._loop = LoopThread("service-proxies")
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="service-proxies")

    def start(self) -> None:
        self._loop.start()
        self._loop.submit(self._begin()).result(10.0)

    def stop(self) -> None:
        if self._loop.loop.is_running():
            self._loop.submit(self._end()).result(10.0)
            self._loop.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def address(self, namespace: str, service: str, port: str | None = None) -> str | None:
        """`127.0.0.1:PORT` of a Service's port (by name or number; default the first); None when not served."""
        for (where, name, key), listener in list(self._listeners.items()):
            if (where, name) == (namespace, service) and (port is None or key == port):
                return f"{HOST}:{listener.port}"
        return None

    def environment(self, namespace: str) -> dict[str, str]:
        """Where the namespace's Services answer, as container environment."""
        env: dict[str, str] = {}
        for (where, name, key), listener in list(self._listeners.items()):
            if where != namespace:
                continue
            prefix = re.sub(r"[^A-Z0-9]", "_", name.upper())
            env.setdefault(f"{prefix}_SERVICE_HOST", HOST)
            env.setdefault(f"{prefix}_SERVICE_PORT", str(listener.port))
            if not key.isdigit():
                env[f"{prefix}_SERVICE_PORT_{re.sub(r'[^A-Z0-9]', '_', key.upper())}"] = str(listener.port)
        return env

    # -- following -----------------------------------------------------------------------------------------

    def _pod_changed(self, _: str, pod: Object) -> None:
        labels = pod["metadata"].get("labels") or {}
        namespace = pod["metadata"]["namespace"]
        for service in self._services.all(namespace):
            selector = service["spec"].get("selector") or {}
            if selector and selector.items() <= labels.items():
                self._touch(key_of(service))

    def _touch(self, key: Key) -> None:
        self._loop.call(self._mark, key)

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._wake.set()

    async def _begin(self) -> None:
        self._work = asyncio.ensure_future(self._follow())

    async def _end(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        if self._work is not None:
            self._work.cancel()

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._dirty = self._dirty, set()
            for key in keys:
                try:
                    await self._refresh(key)
                except Exception:
                    log.exception("service %s/%s: proxy not updated", *key)
            # Where to send comes first; telling the API server may take its time.
            for key in keys - self._announcing.keys():
                self._announcing[key] = asyncio.ensure_future(self._announce(key))

    async def _refresh(self, key: Key) -> None:
        service = self._services.get(*key)
        wanted = {} if service is None or is_deleting(service) else _proxied_ports(service)
        for known in [k for k in self._listeners if k[:2] == key and k[2] not in wanted]:
            self._listeners.pop(known).close()
        for name, port in wanted.items():
            await self._listen((*key, name), self._backends(key, port))

    async def _listen(self, key: PortKey, backends: Sequence[Backend]) -> None:
        listener = self._listeners.get(key)
        if listener is None:
            listener = Listener()
            listener.backends = backends
            await listener.start(self._ports.get("/".join(key), 0))
            self._listeners[key] = listener
            self._remember("/".join(key), listener.port)
        listener.backends = backends

    def _backends(self, key: Key, port: Object) -> list[Backend]:
        name = port.get("name") or ""
        found: list[Backend] = []
        for item in self._slices.all(key[0]):
            if _service_of(item) != key:
                continue
            number = next((p["port"] for p in item.get("ports") or [] if (p.get("name") or "") == name), None)
            if number is not None:
                ready = [e for e in item.get("endpoints") or [] if self._takes_connections(key[0], e)]
                found += [(address, int(number)) for e in ready for address in e["addresses"]]
        return sorted(set(found))

    def _takes_connections(self, namespace: str, endpoint: Object) -> bool:
        """Ready by its slice, and not known to be leaving: the pod itself may be heard of a moment earlier."""
        if (endpoint.get("conditions") or {}).get("ready") is False:
            return False
        target = endpoint.get("targetRef") or {}
        if target.get("kind") != "Pod":
            return True
        pod = self._pods.get(target.get("namespace") or namespace, target["name"])
        return pod is None or (is_ready(pod) and not is_deleting(pod))

    # -- telling -------------------------------------------------------------------------------------------

    async def _announce(self, key: Key) -> None:
        service = self._services.get(*key)
        try:
            if service is not None and not is_deleting(service):
                await self._publish(
                    service, [n for n in _proxied_ports(service) if (*key, n) in self._listeners]
                )
        except OutsideError as error:
            log.debug("service %s/%s: address not published yet: %s", *key, error)
            asyncio.get_running_loop().call_later(1.0, self._mark, key)
        finally:
            del self._announcing[key]

    async def _publish(self, service: Object, names: Sequence[str]) -> None:
        if not names:
            return
        key = key_of(service)
        local = {n: f"{HOST}:{self._listeners[(*key, n)].port}" for n in names}
        wanted = {f"{ADDRESS}-{n}": address for n, address in local.items()} | {ADDRESS: local[names[0]]}
        have = service["metadata"].get("annotations") or {}
        missing = {k: v for k, v in wanted.items() if have.get(k) != v}
        loop = asyncio.get_running_loop()
        if missing:
            body: Object = {"metadata": {"annotations": missing}}
            await loop.run_in_executor(self._executor, self._patch, service, body, "")
        if service["spec"].get("type") == "LoadBalancer" and not _ingress(service):
            body = {"status": {"loadBalancer": {"ingress": [{"ip": HOST}]}}}
            await loop.run_in_executor(self._executor, self._patch, service, body, "status")

    def _patch(self, service: Object, body: Object, subresource: str) -> None:
        meta = service["metadata"]
        patched = self._client.patch(SERVICES, meta["namespace"], meta["name"], body, subresource)
        self._services.remember(patched)

    def _load(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads(self._state.read_bytes())
        except (OSError, ValueError):
            return {}
        return ports

    def _remember(self, key: str, port: int) -> None:
        if self._ports.get(key) == port:
            return
        self._ports[key] = port
        part = self._state.with_name("services.json.new")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(self._ports))
            part.replace(self._state)


def _proxied_ports(service: Object) -> dict[str, Any]:
    """Port name (or number) → port, for what a loopback proxy can serve."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        return {}
    return {
        str(port.get("name") or port["port"]): port
        for port in spec.get("ports") or []
        if (port.get("protocol") or "TCP") == "TCP"
    }


def _service_of(item: Object) -> Key:
    meta = item["metadata"]
    return meta["namespace"], (meta.get("labels") or {}).get(SERVICE_LABEL, "")


def _ingress(service: Object) -> list[Object]:
    found = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return list(found)
