"""The API server as a process: prints one JSON line `{"url": …}` when ready, stops on SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from pathlib import Path

from tidegate.sim.apiserver.server import ApiServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tidegate.sim.apiserver", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--access-log", type=Path)
    parser.add_argument("--kubeconfig", type=Path, help="write a kubeconfig here")
    arguments = parser.parse_args()
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with ApiServer(arguments.port, arguments.data, arguments.access_log) as server:
        if arguments.kubeconfig:
            server.write_kubeconfig(arguments.kubeconfig)
        print(json.dumps({"url": server.url}), flush=True)
        done.wait()


main()
