"""Registries, and one that fails on purpose."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.images.registry_proxy import Proxy
from tidegate.sim.registry import Registry as Server

DEBIAN = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[str]:
    """The address of a docker-registry as Debian ships it."""
    binary = shutil.which("docker-registry")
    if binary is None:
        pytest.skip("docker-registry is not installed; Debian has it under this name")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    config = tmp_path / "config.yml"
    config.write_text(DEBIAN.format(root=tmp_path / "debian", address=address))
    with subprocess.Popen([binary, "serve", str(config)], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "docker-registry did not start"
                time.sleep(0.05)
        yield address
        process.terminate()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    standing = Proxy(server.address)
    yield standing
    standing.close()
