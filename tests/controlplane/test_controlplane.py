"""The real control plane runs workloads on our node agent, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.controlplane.build import Missing, Programs, find
from tests.controlplane.cluster import ControlPlane
from tests.sim.cluster.embedded import deployment, push_server
from tidegate.errors import NotFound
from tidegate.sim.client import DEPLOYMENTS, NAMESPACES, PODS, Client
from tidegate.sim.registry import Registry

PATIENCE = 120.0


def eventually(holds: Callable[[], Any]) -> Any:
    """What `holds` returns once it is true; patience is for busy machines."""
    end = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < end, "it never held"
        time.sleep(0.1)
    return found


def test_a_deployment_becomes_ready_on_our_node_and_its_pods_end_with_it(
    kubernetes_programs: Programs, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.start()
    try:
        image = push_server(registry.address)
        with ControlPlane(tmp_path / "plane", kubernetes_programs) as plane:
            client = Client.from_kubeconfig(plane.kubeconfig)
            eventually(lambda: _is_there(client, "default"))
            client.create(DEPLOYMENTS, deployment("web", image, 2))
            eventually(lambda: _ready(client) == 2)
            client.delete(DEPLOYMENTS, "default", "web", propagation="Background")
            eventually(lambda: not client.list(PODS, "default")[0])
            client.close()
    finally:
        registry.stop()


def test_a_control_plane_that_is_killed_takes_every_process_with_it(
    kubernetes_programs: Programs, tmp_path: Path
) -> None:
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "tests.controlplane"]
    with subprocess.Popen(argv, cwd=root, env=env, stdout=subprocess.PIPE, text=True) as person:
        assert person.stdout is not None
        assert "is ready after" in person.stdout.readline()
        children = psutil.Process(person.pid).children(recursive=True)
        assert len(children) >= 5
        person.send_signal(signal.SIGKILL)
        person.wait()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "etcd").touch(mode=0o755)
    with pytest.raises(Missing, match="lacks kube-apiserver, kube-controller-manager, kube-scheduler"):
        find({"KUBEBUILDER_ASSETS": str(tmp_path)})


def test_binaries_that_the_machine_has_are_used(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        (tmp_path / name).touch(mode=0o755)
    assert find({"KUBEBUILDER_ASSETS": str(tmp_path)}).etcd == tmp_path / "etcd"


def _is_there(client: Client, namespace: str) -> bool:
    try:
        return bool(client.get(NAMESPACES, None, namespace))
    except NotFound:
        return False


def _ready(client: Client) -> int:
    return int((client.get(DEPLOYMENTS, "default", "web").get("status") or {}).get("readyReplicas") or 0)
