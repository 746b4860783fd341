"""Everything the story happens in: cluster, registry, Git server, Prometheus, Prefect, runner and visitors.

Each is a process of its own on a free loopback port; the ports are chosen here, so that a part that dies
comes back where the others look for it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tidegate.demo import repositories
from tidegate.demo.places import ROOT, Places
from tidegate.demo.prometheus import Prometheus, binary
from tidegate.running.processes import Child, Processes, end_marked, free_port
from tidegate.running.up import Platform, Up, program_path
from tidegate.settings import Settings

START_SECONDS = 60.0
ROOTFS = "TIDEGATE_ROOTFS"
"""In the environment of every process of a pod: where its image is."""
STAGES = ("staging", "production")
POLL_SECONDS = 10
"""How often git-sync looks: a story has less time than a day at work."""
RATE = 50
"""Visitors per second."""


def namespace_of(stage: str) -> str:
    """The namespace of a stage of digits."""
    return f"digits-{stage}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are, once they run."""

    cluster: str
    kubeconfig: Path
    registry: str
    git: str
    prometheus: str


class World:
    """Starts the parts in an order in which each finds what it needs; most of them start side by side."""

    def __init__(self, processes: Processes, places: Places, settings: Settings) -> None:
        self.processes, self.places, self.settings = processes, places, settings
        ports = [free_port() for _ in range(4)]
        self._ports = dict(zip(("cluster", "registry", "git", "prometheus"), ports, strict=True))
        self.up = Up(processes, places.home, env=self.env)

    @property
    def env(self) -> dict[str, str]:
        """What every part, and a user in another terminal, needs to know."""
        return {
            "TIDEGATE_HOME": str(self.places.home),
            "TIDEGATE_FLEET": str(self.places.fleet),
            "TIDEGATE_GIT_PROTOCOLS": "http:https:ssh",
            "TIDEGATE_POLL": str(POLL_SECONDS),
            "KUBECONFIG": str(self.kubeconfig),
        }

    @property
    def kubeconfig(self) -> Path:
        """The embedded cluster's kubeconfig, once it runs."""
        return self.places.cluster / "kubeconfig"

    def start_parts(self) -> Platform:
        """Start cluster, Git server and Prefect server; none of them is ready yet."""
        self._python("cluster", "tidegate.sim", "--home", str(self.places.cluster), *self._cluster_ports())
        self._python(
            "git-server",
            "tidegate.sim.git_server",
            *("--root", str(self.places.bare), "--port", str(self._ports["git"])),
            *("--create", "digits", "--create", "fleet"),
        )
        restore_database(self.places)
        return self.up.start_server()

    def _cluster_ports(self) -> tuple[str, ...]:
        return ("--port", str(self._ports["cluster"]), "--registry-port", str(self._ports["registry"]))

    def wait_parts(self) -> Addresses:
        """Until cluster and Git server answer; where everything is. Starts Prometheus."""
        cluster = self._greeting("cluster")
        git_server = self._greeting("git-server")
        kubeconfig = Path(cluster["kubeconfig"])
        for stage in STAGES:
            create_namespace(cluster["url"], namespace_of(stage))
        prometheus = Prometheus(
            processes=self.processes,
            folder=self.places.prometheus,
            port=self._ports["prometheus"],
            cluster=cluster["url"],
            kubeconfig=kubeconfig,
            env=self.env,
        )
        prometheus.start(binary(self.settings))
        return Addresses(
            cluster=cluster["url"],
            kubeconfig=kubeconfig,
            registry=cluster["registry"],
            git=git_server["url"],
            prometheus=prometheus.url,
        )

    def create_repositories(self, found: Addresses) -> None:
        """`fleet` pushed, `digits` ready for its first commit."""
        values = {
            "GIT": found.git,
            "REGISTRY": found.registry,
            "PROMETHEUS": found.prometheus,
            "KUBECONFIG": str(found.kubeconfig),
        }
        self.places.work.mkdir(parents=True)
        repositories.create_fleet(self.places.fleet, f"{found.git}/fleet.git", values)
        repositories.create_digits(self.places.digits, f"{found.git}/digits.git")

    def start_delivery(self, platform: Platform) -> None:
        """Wait for the Prefect server, register our flows, start the runner."""
        self.up.wait_server(platform)
        keep_database(self.places)
        self.up.register(platform)
        self.up.runner(platform)

    def start_visitors(self, found: Addresses) -> None:
        """The traffic; it waits for the Service by itself."""
        service = f"{found.cluster}/api/v1/namespaces/{namespace_of('production')}/services/digits"
        self._python(
            "visitors",
            "tidegate.demo.visitor",
            *("--service", service, "--log", str(self.places.answers)),
            *("--data", str(self.places.images), "--rate", str(RATE)),
        )

    def write_env_file(self, platform: Platform) -> None:
        """What to source in another terminal to use `tidegate`, `kubectl` and `prefect` on this world."""
        values = {**self.env, "PREFECT_API_URL": platform.api, "PATH": f"{Path(sys.executable).parent}:$PATH"}
        lines = [f'export {name}="{value}"\n' for name, value in values.items()]
        self.places.env_file.write_text("".join(lines))

    def _python(self, name: str, module: str, *words: str) -> Child:
        env = {**self.env, "PATH": program_path()}
        return self.processes.start(name, [sys.executable, "-m", module, *words], env=env, cwd=ROOT)

    def _greeting(self, name: str) -> dict[str, Any]:
        """The JSON line a part prints when it is ready."""
        child = self.processes.children[name]
        self.processes.wait(child, lambda: _json_line(child.log) is not None, seconds=START_SECONDS)
        return _json_line(child.log) or {}


def _json_line(log: Path) -> dict[str, Any] | None:
    for line in log.read_text(errors="replace").splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def create_namespace(cluster: str, name: str) -> None:
    """What the administrator of a cluster does before anybody delivers into it."""
    body = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(f"{cluster}/api/v1/namespaces", body, headers, method="POST")  # noqa: S310
    urlopen(request, timeout=10).close()  # noqa: S310  # nosec B310 -- our own API server


def end_pods(places: Places) -> None:
    """Kill pods of a cluster that was itself killed: processes that say they run below this folder."""
    end_marked(lambda env: env.get(ROOTFS, "").startswith(f"{places.home}/"))


def _kept_database(places: Places) -> Path:
    return places.kept / f"prefect-{version('prefect')}.db"


def restore_database(places: Places) -> None:
    """An empty but migrated database, if an earlier demo left one: most of a first start is migrating."""
    if _kept_database(places).exists():
        (places.home / "prefect").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_kept_database(places), places.home / "prefect" / "prefect.db")


def keep_database(places: Places) -> None:
    """Keep the migrated, still empty database of a server that has just become healthy."""
    kept = _kept_database(places)
    if kept.exists():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    part.unlink(missing_ok=True)
    source, copy = sqlite3.connect(places.home / "prefect" / "prefect.db"), sqlite3.connect(part)
    try:
        source.backup(copy)
    finally:
        source.close()
        copy.close()
    part.replace(kept)
