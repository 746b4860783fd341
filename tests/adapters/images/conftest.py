"""A registry, and one that fails on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_proxy import Proxy

from tidegate.sim.registry import Registry as Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    standing = Proxy(server.address)
    yield standing
    standing.close()
