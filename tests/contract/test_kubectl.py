"""kubectl is a client under test: it says the same to the embedded cluster as to Kubernetes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract import commands
from tests.contract.commands import Commands, Kubectl
from tests.contract.talk import Server
from tests.controlplane.build import Programs
from tests.controlplane.cluster import ControlPlane
from tests.sim.cluster.embedded import push_server
from tidegate.sim.cluster import Cluster
from tidegate.sim.registry import Registry

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

CASES = commands.load()
ALONE = [case for case in CASES if not case.cluster]
TOGETHER = [case for case in CASES if case.cluster]


@pytest.fixture(scope="module")
def embedded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Kubeconfig, and an image that serves. Ends with this file: its threads draw random numbers while others run."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running.kubeconfig, push_server(running.registry)


@pytest.fixture(scope="module")
def real_cluster(
    kubernetes_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    home = tmp_path_factory.mktemp("wholeplane")
    registry = Registry(home / "registry")
    registry.start()
    try:
        with ControlPlane(home / "plane", kubernetes_programs) as plane:
            yield plane.kubeconfig, push_server(registry.address)
    finally:
        registry.stop()


@pytest.fixture(scope="session")
def said(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """With --record: what kubectl said to the real control plane, written at the end."""
    found: dict[str, Any] = {}
    yield found
    if found:
        commands.write(found)


@pytest.mark.parametrize("case", ALONE, ids=[case.name for case in ALONE])
def test_kubectl_says_what_it_says_to_kubernetes(
    case: Commands,
    server: Server,
    unique: Callable[[], str],
    said: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    told = Kubectl(server.kubeconfig, server.kubeconfig.parent).run(case, unique())
    _compare(case, told, server.name, said, request)


@pytest.mark.parametrize("place", ["embedded", "real"])
@pytest.mark.parametrize("case", TOGETHER, ids=[case.name for case in TOGETHER])
def test_kubectl_follows_pods_as_it_does_on_kubernetes(
    case: Commands,
    place: str,
    unique: Callable[[], str],
    said: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    kubeconfig, image = request.getfixturevalue(f"{place}_cluster")
    expected = () if request.config.getoption("--record", default=False) else commands.read()[case.name]
    told = Kubectl(kubeconfig, kubeconfig.parent).run(case, unique(), expected, IMAGE=image)
    _compare(case, told, place, said, request)


def test_no_transcript_is_kept_for_a_case_that_is_gone() -> None:
    assert set(commands.read()) == {case.name for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES)


def _compare(
    case: Commands, told: Any, place: str, said: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    if place == "real" and request.config.getoption("--record", default=False):
        said[case.name] = told
        return
    assert told == commands.read()[case.name]
