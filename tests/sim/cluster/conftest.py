"""A running embedded cluster, an image in its registry, and kubectl."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import urllib3

from tests.sim.cluster.embedded import Shell, push_server
from tidegate.sim.client import Client
from tidegate.sim.cluster import Cluster
from tidegate.sim.node import Timing


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests; its back-off is short, so that what waits in it comes back soon."""
    with Cluster(
        tmp_path_factory.mktemp("cluster"), timing=Timing(backoff=2.0, longest_backoff=10.0)
    ) as running:
        yield running


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Shell:
    return Shell(cluster.kubeconfig)


@pytest.fixture(scope="session")
def client(cluster: Cluster) -> Client:
    return Client(cluster.url, user_agent="tests")


@pytest.fixture(scope="session")
def image(cluster: Cluster) -> str:
    return push_server(cluster.registry)


@pytest.fixture(scope="session")
def web() -> Iterator[Callable[[str], str]]:
    """GET of a URL on a connection of its own; the text. Fails on any other status than 200."""
    pool = urllib3.PoolManager(retries=False, timeout=10)

    def get(url: str) -> str:
        answer = pool.request("GET", url, headers={"Connection": "close"})
        assert answer.status == 200, (answer.status, answer.data)
        return answer.data.decode()

    with pool:
        yield get
