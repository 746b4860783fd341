"""The node agent: `python -m tests.controlplane.node KUBECONFIG HOME READY-FILE CERTIFICATE KEY`, until SIGTERM."""

from __future__ import annotations

import signal
import ssl
import sys
import threading
from pathlib import Path

from tidegate.sim.client import Client
from tidegate.sim.node import NodeAgent


def main(kubeconfig: Path, home: Path, ready: Path, certificate: Path, key: Path) -> None:
    """Run pods; `ready` is created once the node is registered."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    client = Client.from_kubeconfig(kubeconfig, user_agent="tidegate-node")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    agent = NodeAgent(client, home, tls=tls)
    try:
        agent.start()
        ready.touch()
        ended.wait()
    finally:
        agent.stop()
        client.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:6]))
