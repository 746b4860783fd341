"""The demo's repositories on a real Git server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tidegate.demo.places import Places
from tidegate.demo.repositories import create_digits, create_fleet
from tidegate.sim.git_server import GitServer


@dataclass(frozen=True)
class Repositories:
    places: Places
    server: GitServer


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[Repositories]:
    places = Places(tmp_path)
    places.work.mkdir(parents=True)
    with GitServer(places.bare) as server:
        for name in ("digits", "fleet"):
            server.create(name)
        values = {
            "GIT": server.address,
            "REGISTRY": "127.0.0.1:5000",
            "PROMETHEUS": "http://127.0.0.1:9090",
            "KUBECONFIG": str(tmp_path / "kubeconfig"),
        }
        create_fleet(places.fleet, server.url("fleet"), values)
        create_digits(places.digits, server.url("digits"))
        yield Repositories(places, server)
