"""Servers of the metrics tests, started on free ports and stopped afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from prometheus_server import (
    NO_TARGETS,
    Exposition,
    History,
    Liar,
    PrometheusServer,
    lie,
    serve,
    write_history,
)


@pytest.fixture
def prometheus_in(tmp_path: Path) -> Iterator[Callable[[str], PrometheusServer]]:
    """Starts Prometheus servers with a configuration; all are stopped afterwards."""
    started: list[PrometheusServer] = []

    def start(config: str = NO_TARGETS) -> PrometheusServer:
        server = PrometheusServer(tmp_path / f"prometheus-{len(started)}", config)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def prometheus_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[History], PrometheusServer]]:
    """Starts Prometheus servers that hold a written history; one per module and history."""
    started: list[PrometheusServer] = []

    def start(history: History) -> PrometheusServer:
        server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), NO_TARGETS)
        write_history(server.folder, history)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def expositions() -> Iterator[Callable[[str], Exposition]]:
    """Starts `/metrics` endpoints; all are stopped afterwards."""
    started: list[Exposition] = []

    def start(text: str = "") -> Exposition:
        one = Exposition(text)
        serve(one)
        started.append(one)
        return one

    yield start
    for one in started:
        assert one.server is not None
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    """A server that says what the test wants Prometheus to say."""
    one = Liar()
    lie(one)
    yield one
    one.hang.set()
    assert one.server is not None
    one.server.shutdown()
    one.server.server_close()
