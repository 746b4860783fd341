"""The node agent, a kubelet stand-in: runs the pods bound to its node as local processes, against any API server.

It is for trying out and for tests: processes are not isolated from the machine or from each other.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tidegate.errors import OutsideError, Unreachable
from tidegate.sim.client import PODS, Client, Object
from tidegate.sim.controllers.pods import is_deleting, phase
from tidegate.sim.events import Recorder
from tidegate.sim.informer import Informer
from tidegate.sim.loop import LoopThread
from tidegate.sim.node.container import Container, Machine, Timing, run_folder
from tidegate.sim.node.images import ImageStore
from tidegate.sim.node.network import PodNetwork
from tidegate.sim.node.pod import Node, PodWorker, address_of, load
from tidegate.sim.node.process import kill_leftover
from tidegate.sim.node.registration import Registration
from tidegate.sim.node.server import KubeletServer

log = logging.getLogger(__name__)

ROTATE_SECONDS = 15.0
SHUTDOWN_SECONDS = 5.0


class NodeAgent:
    """`start()` registers the node and runs its pods; `stop()` ends every process it started.

    `pods` may be a shared informer (its owner starts it); without one the agent watches its own node's pods.
    `services` gives the environment that tells a pod of a namespace where Services answer.
    `own_addresses` decides whether pods get a loopback address each (default: where the system can).
    `tls` is for a real API server, which asks nodes for logs by HTTPS only.
    """

    def __init__(
        self,
        client: Client,
        home: Path,
        *,
        name: str = "tidegate-node",
        port: int = 0,
        pods: Informer | None = None,
        services: Callable[[str], Mapping[str, str]] = lambda _: {},
        timing: Timing | None = None,
        own_addresses: bool | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._home = home
        self._port = port
        self._client = client
        self._pods = pods or Informer(client, PODS, fieldSelector=f"spec.nodeName={name}")
        self._shares_informer = pods is not None
        self._pods.on_change(self._hear)
        self._recorder = Recorder(client, "kubelet")
        self._executor = ThreadPoolExecutor(max_workers=6, thread_name_prefix="node")
        machine = Machine(
            ImageStore(home / "images"), self._recorder, self._executor, timing or Timing(), services
        )
        network = PodNetwork(home, own_addresses)
        self._node = Node(client, machine, network, home / "pods", home / "claims")
        self._workers: dict[str, PodWorker] = {}
        self._cleaning: set[asyncio.Task[None]] = set()
        self._loop = LoopThread("node-agent")
        self._server = KubeletServer(self._find, tls)
        self._registration: Registration | None = None
        self._stopping = False

    # -- life ----------------------------------------------------------------------------------------------

    def start(self, timeout: float = 20.0) -> None:
        """Raises when the API server cannot be reached within `timeout` seconds."""
        self._node.pods.mkdir(parents=True, exist_ok=True)
        for folder in self._node.pods.iterdir():
            address = address_of(load(folder))
            if address is not None:
                self._node.network.keep(folder.name, address)
        self._loop.start()
        self._loop.submit(self._server.start(self._port)).result(10.0)
        self._registration = Registration(self._client, self.name, self._server.port)
        _patiently(self._registration.start, timeout)
        self._pods.start()
        if not self._pods.wait_synced(timeout):
            raise Unreachable("node agent: the API server does not list pods")
        self._loop.submit(self._sweep()).result(timeout)
        self._loop.submit(self._begin_rotation()).result(10.0)

    def stop(self) -> None:
        """Stops every process (SIGTERM, SIGKILL after 5 s); pods stay, and run again with the next agent."""
        if self._stopping:
            return
        self._stopping = True
        if self._registration is not None:
            self._registration.stop()
        if not self._shares_informer:
            self._pods.stop()
        if self._loop.loop.is_running():
            self._loop.submit(self._shut_down()).result(SHUTDOWN_SECONDS + 15.0)
            self._loop.stop()
        self._recorder.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._node.machine.images.close()

    async def _shut_down(self) -> None:
        self._server.close()
        workers = list(self._workers.values())
        await asyncio.gather(*(w.shut_down(SHUTDOWN_SECONDS) for w in workers), return_exceptions=True)

    async def _begin_rotation(self) -> None:
        task = asyncio.ensure_future(self._rotate())
        self._cleaning.add(task)

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            for worker in list(self._workers.values()):
                worker.rotate_logs()

    # -- pods ----------------------------------------------------------------------------------------------

    def _hear(self, change: str, pod: Object) -> None:
        if pod["spec"].get("nodeName") == self.name:
            self._loop.call(self._take, change, pod)

    def _take(self, change: str, pod: Object) -> None:
        if self._stopping:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if change == "DELETED":
            if worker is not None:
                self._forget(uid, worker)
            return
        if worker is None:
            if (
                phase(pod) in ("Succeeded", "Failed")
                and not is_deleting(pod)
                and not (self._node.pods / uid).exists()
            ):
                return
            worker = self._workers[uid] = PodWorker(self._node, pod)
        worker.update(pod)

    def _forget(self, uid: str, worker: PodWorker) -> None:
        async def clean() -> None:
            await worker.clean(1.0)
            if self._workers.get(uid) is worker:
                del self._workers[uid]

        task = asyncio.ensure_future(clean())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _sweep(self) -> None:
        """Ends and removes what an earlier agent left of pods that are gone."""
        here = {p["metadata"]["uid"] for p in self._pods.all() if p["spec"].get("nodeName") == self.name}
        for folder in list(self._node.pods.iterdir()):
            if folder.name not in here:
                await self._node.machine.blocking(remove_leftover, folder)
                self._node.network.release(folder.name)

    def _find(self, namespace: str, pod: str, name: str) -> Container | None:
        for worker in self._workers.values():
            meta = worker.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, pod):
                return worker.containers.get(name) if name else next(iter(worker.containers.values()), None)
        return None


def remove_leftover(folder: Path) -> None:
    """Kills the processes of a pod folder and deletes it. Blocking."""
    for name, state in (load(folder).get("containers") or {}).items():
        if state.get("identity"):
            kill_leftover(run_folder(folder / "containers" / name, state["identity"]))
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(home: Path) -> int:
    """Kills whatever pods of a dead agent still run under `home`; how many pod folders there were."""
    folders = list((home / "pods").iterdir()) if (home / "pods").is_dir() else []
    for folder in folders:
        remove_leftover(folder)
    return len(folders)


def _patiently(action: Callable[[], None], timeout: float) -> None:
    until = time.monotonic() + timeout
    while True:
        try:
            return action()
        except OutsideError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
