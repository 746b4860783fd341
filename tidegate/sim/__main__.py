"""`python -m tidegate.sim --home DIR`: the embedded cluster as a process of its own.

Prints one JSON line when everything is ready (`url`, `kubeconfig`, `registry`, `targets`,
`access_log`, `pid`); SIGTERM or
Ctrl-C stops everything, pods included. `--clean` only ends pods that a killed cluster left behind.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.sim.cluster import ANNOUNCEMENT, Cluster
from tidegate.sim.node import remove_leftovers


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 stopped as asked, else that of the error."""
    options = _options(arguments)
    if options.clean:
        print(f"removed {remove_leftovers(options.home.resolve() / 'node')} pods", file=sys.stderr)
        return 0
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        with Cluster(options.home, options.port, options.registry_port) as cluster:
            print(json.dumps(_ready(cluster)), flush=True)
            ended.wait()
    except TidegateError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tidegate.sim", description=ANNOUNCEMENT)
    parser.add_argument("--home", type=Path, required=True, help="folder for all state")
    parser.add_argument("--port", type=int, default=0, help="API server port (default: the last one, or any)")
    parser.add_argument(
        "--registry-port", type=int, default=0, help="registry port (default: the last one, or any)"
    )
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.add_argument(
        "--clean", action="store_true", help="end pods a killed cluster left behind, then exit"
    )
    return parser.parse_args(arguments)


def _ready(cluster: Cluster) -> dict[str, str | int]:
    return {
        "url": cluster.url,
        "kubeconfig": str(cluster.kubeconfig),
        "registry": cluster.registry,
        "targets": str(cluster.targets),
        "access_log": str(cluster.access_log),
        "pid": os.getpid(),
    }


if __name__ == "__main__":
    sys.exit(main())
