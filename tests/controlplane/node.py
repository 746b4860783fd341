"""The node agent as a program: `python -m tests.controlplane.node KUBECONFIG HOME READY-FILE`, until SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tidegate.sim.client import Client
from tidegate.sim.node import NodeAgent


def main(kubeconfig: Path, home: Path, ready: Path) -> None:
    """Run pods; `ready` is created once the node is registered."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    client = Client.from_kubeconfig(kubeconfig, user_agent="tidegate-node")
    agent = NodeAgent(client, home)
    try:
        agent.start()
        ready.touch()
        ended.wait()
    finally:
        agent.stop()
        client.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
