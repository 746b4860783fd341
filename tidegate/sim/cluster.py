"""The embedded cluster as one thing: API server, controllers, node agent, Service proxies and registry.

For trying out and for tests, never for production: no authentication, no isolation between pods and machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import yaml

from tidegate.errors import Refused
from tidegate.sim.apiserver import ApiServer
from tidegate.sim.client import Client
from tidegate.sim.controllers import Controllers
from tidegate.sim.informer import Informers
from tidegate.sim.node import NodeAgent, Timing
from tidegate.sim.registry import Registry
from tidegate.sim.services import ServiceProxies
from tidegate.sim.targets import TargetFile

log = logging.getLogger(__name__)

ANNOUNCEMENT = "embedded cluster: for trying out and tests, never for production"
CONTEXT = "tidegate"
HOST = "127.0.0.1"


class Cluster:
    """Everything under `home`; started again on the same folder it goes on where it stopped.

    `port` and `registry_port` 0: those of the last time if they are free, else any. Pods that still run because the
    last cluster was killed are adopted. One cluster per home: a second one is `Refused`.
    """

    def __init__(
        self,
        home: Path,
        port: int = 0,
        registry_port: int = 0,
        *,
        timing: Timing | None = None,
        own_addresses: bool | None = None,
    ) -> None:
        self.home = home.resolve()
        self.kubeconfig = self.home / "kubeconfig"
        """Written by `start`; for kubectl, Prometheus and the kubernetes client."""
        self.targets = self.home / "prometheus-pods.json"
        """The pods as a `file_sd_configs` file, for a Prometheus without Kubernetes discovery."""
        self.access_log = self.home / "apiserver" / "access.jsonl"
        self.url = ""
        """The API server's address, once started."""
        self.registry = ""
        """`127.0.0.1:PORT` of the registry, once started: the first part of image names."""
        self._ports = {"port": port, "registry_port": registry_port}
        self._timing = timing
        self._own_addresses = own_addresses
        self._parts = contextlib.ExitStack()
        self._services: ServiceProxies | None = None

    def start(self) -> Cluster:
        self.home.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as starting:
            starting.enter_context(_lock(self.home))
            log.warning(ANNOUNCEMENT)
            self._start_parts(starting)
            self._parts = starting.pop_all()
        return self

    def stop(self) -> None:
        """Ends everything, pods' processes included; what is under `home` stays."""
        self._parts.close()

    def address(self, namespace: str, service: str, port: str | None = None) -> str | None:
        """`127.0.0.1:PORT` where a Service port (name or number; default the first) answers; None if it does not."""
        return self._services.address(namespace, service, port) if self._services else None

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_parts(self, starting: contextlib.ExitStack) -> None:
        """In the order of need; they stop in reverse."""
        saved = _load(self.home / "cluster.json")
        ports = {name: asked or _if_free(saved.get(name, 0)) for name, asked in self._ports.items()}
        registry = Registry(self.home / "registry", port=ports["registry_port"])
        registry.start()
        starting.callback(registry.stop)
        self.registry = registry.address
        data = self.home / "apiserver"
        data.mkdir(exist_ok=True)
        server = ApiServer(port=ports["port"], data=data, access_log=self.access_log)
        server.start()
        starting.callback(server.stop)
        self.url = server.url
        self._write_files()
        self._start_workers(starting)

    def _start_workers(self, starting: contextlib.ExitStack) -> None:
        client = Client(self.url, user_agent="tidegate-sim-controllers")
        starting.callback(client.close)
        informers = Informers(client)
        controllers = Controllers(client, informers)
        services = ServiceProxies(client.with_agent("tidegate-sim-services"), informers, self.home)
        agent = NodeAgent(
            client.with_agent("tidegate-sim-node"),
            self.home / "node",
            pods=informers.pods,
            services=services.environment,
            timing=self._timing,
            own_addresses=self._own_addresses,
        )
        targets = TargetFile(informers, self.targets)
        starting.callback(informers.stop)
        starting.callback(services.stop)
        services.start()
        self._services = services
        informers.start()
        starting.callback(targets.stop)
        targets.start()
        starting.callback(controllers.stop)
        controllers.start()
        starting.callback(agent.stop)
        agent.start()

    def _write_files(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [{"name": CONTEXT, "cluster": {"server": self.url}}],
            "users": [{"name": CONTEXT, "user": {}}],
            "contexts": [
                {"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}
            ],
        }
        self.kubeconfig.write_text(f"# {ANNOUNCEMENT}\n{yaml.safe_dump(config, sort_keys=False)}")
        ports = {
            "port": int(self.url.rpartition(":")[2]),
            "registry_port": int(self.registry.rpartition(":")[2]),
        }
        (self.home / "cluster.json").write_text(json.dumps(ports))


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused(
                f"{home}: an embedded cluster already runs here; stop it or use another folder"
            ) from error
        yield


def _load(path: Path) -> dict[str, int]:
    try:
        saved: dict[str, int] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return saved


def _if_free(port: int) -> int:
    """`port` when nobody listens there, else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return 0
    return port
