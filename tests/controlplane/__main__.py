"""A real Kubernetes control plane for a person to try things on: `python -m tests.controlplane`, Ctrl-C stops it."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.controlplane.build import ASSETS, Missing, build, find
from tests.controlplane.cluster import ControlPlane
from tidegate.errors import Unreachable

TOLD = """Kubernetes {url} is ready after {seconds:.1f} s: RBAC on, one node whose pods are processes of this machine.

    export KUBECONFIG={kubeconfig}
    kubectl get nodes
    kubectl apply --server-side -f …

requests  {audit}
logs      {logs}

Ctrl-C stops it and deletes everything."""


def main() -> int:
    """Start, tell how to use it, wait for the end; the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if ASSETS not in os.environ:
            build()
        found = find()
        with tempfile.TemporaryDirectory(prefix="tidegate-controlplane-") as home:
            begun = time.monotonic()
            with ControlPlane(Path(home), found) as plane:
                print(_told(plane, time.monotonic() - begun), flush=True)
                signal.pause()
    except (Missing, Unreachable) as error:
        print(f"no control plane: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _told(plane: ControlPlane, seconds: float) -> str:
    return TOLD.format(
        url=plane.url,
        seconds=seconds,
        kubeconfig=plane.kubeconfig,
        audit=plane.audit_log,
        logs=plane.home / "logs",
    )


if __name__ == "__main__":
    raise SystemExit(main())
