"""The two servers of the contract. `pytest tests/contract --record` keeps what the real one answers; read the diff."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
import urllib3

from tests.contract import answers
from tests.contract.cases import load
from tests.contract.talk import Server
from tests.controlplane.build import Programs
from tests.controlplane.cluster import ControlPlane
from tidegate.sim.apiserver import ApiServer

CONTROLLERS = "garbage-collector-controller,namespace-controller"
"""What the embedded server does itself; others would write at times of their own, and the answers would vary."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write the real control plane's answers")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("embedded") / "kubeconfig"
    with ApiServer() as running, urllib3.PoolManager(retries=False) as pool:
        yield Server("embedded", running.url, pool, running.write_kubeconfig(config))


@pytest.fixture(scope="session")
def real(kubernetes_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("controlplane")
    with (
        ControlPlane(home, kubernetes_programs, CONTROLLERS, runs_pods=False) as plane,
        urllib3.PoolManager(retries=False, ssl_context=plane.ssl_context()) as pool,
    ):
        yield Server("real", plane.url, pool, plane.kubeconfig)


@pytest.fixture(params=["embedded", "real"])
def server(request: pytest.FixtureRequest) -> Server:
    """The same cases for the embedded cluster and for the real control plane."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def unique() -> Callable[[], str]:
    """A name no other case has."""
    numbers = itertools.count(1)
    return lambda: f"{os.getpid()}x{next(numbers)}"


@pytest.fixture(scope="session")
def kept() -> Iterator[dict[str, dict[str, object]]]:
    """With --record: what the real control plane answered, by topic, written at the end."""
    found: dict[str, dict[str, object]] = {}
    yield found
    for topic, new in found.items():
        known = {**answers.read(topic), **new}
        names = [case.name for case in load() if case.topic == topic]
        answers.write(topic, {name: known[name] for name in names if name in known})
