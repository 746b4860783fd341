"""A sync that is killed after any of its writes: the next one ends in the same state, whichever write it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.adapters.kubernetes.test_sync import config, job, joined
from tidegate.sim.apiserver import ApiServer

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.adapters.kubernetes.conftest import OWNER
from tidegate.adapters.targets.kubernetes import Settings, build
from tidegate.domain.manifests import read
from tidegate.domain.options import split
from tidegate.domain.schedule import Hooks

kubeconfig, manifests, sync, last = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
writes = 0

def fence():
    global writes
    if writes == last:
        os.kill(os.getpid(), signal.SIGKILL)
    writes += 1

cluster = build(Settings(kubeconfig=kubeconfig, namespace="shop"))
kept, hooks = split(read(manifests.read_bytes(), "set.yaml"))
plan = cluster.look(OWNER, kept, hooks=Hooks(sync, tuple(hooks)))
result = cluster.apply(OWNER, plan, fence=fence)
assert not result.failure and not result.problems, result
print(writes)
"""


def desired(version: str, *, extra: int) -> str:
    """Forty objects in waves with hooks of every phase; `extra` of them are in no other version."""
    waves = [config(f"w{wave}-{n}", wave=wave, v=version) for wave in (-5, 0, 2, 10) for n in range(7)]
    extras = [config(f"only-{version}-{n}", wave=n - 2, v=version) for n in range(extra)]
    hooks = [
        job("before", "PreSync", wave=-1),
        job("migrate", "PreSync", policy="HookSucceeded"),
        job("within", "Sync", wave=2),
        job("after", "PostSync"),
        job("announce", "PostSync", wave=1, policy="HookSucceeded"),
        job("alarm", "SyncFail"),
    ]
    foreign = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}})
    return joined(*waves, *extras, *hooks, foreign)


def state(world: Any) -> dict[str, Any]:
    """What counts in the end: which objects are there and what they say, the inventory too."""
    found = {}
    for api, kind in (("v1", "ConfigMap"), ("v1", "Secret"), ("batch/v1", "Job")):
        for live in world.cluster.list(api, kind):
            meta = live["metadata"]
            notes = {k: v for k, v in (meta.get("annotations") or {}).items() if k.startswith("tidegate.dev/")}
            data = {k: _without_uids(v) for k, v in (live.get("data") or {}).items()}
            found[f"{kind} {meta['name']}"] = (data, notes, meta.get("finalizers"))
    return found


def _without_uids(text: str) -> str:
    return "\n".join(line.rpartition(" ")[0] or line for line in text.splitlines())


def run(kubeconfig: Path, manifests: Path, sync: str, last: int) -> subprocess.CompletedProcess[str]:
    """The sync in a process of its own, killed when it is about to make its write number `last`, from 0."""
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": str(root)}
    argv = [sys.executable, "-c", KILLED, str(kubeconfig), str(manifests), sync, str(last)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)


def test_a_sync_killed_after_any_write_is_finished_by_the_next_one(
    either: Any, server: ApiServer, kubeconfig: Path, tmp_path: Path
) -> None:
    pass
