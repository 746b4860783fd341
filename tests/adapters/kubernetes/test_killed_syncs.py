"""A sync that is killed after any of its writes: the next one ends in the same state, whichever write it was."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.kubernetes.conftest import OWNER, Audit, World
from tests.adapters.kubernetes.jobs import Jobs
from tests.adapters.kubernetes.test_sync import config, job, joined
from tidegate.adapters.targets.kubernetes import Cluster, Settings, build
from tidegate.domain.manifests import read
from tidegate.domain.options import split
from tidegate.domain.schedule import Hooks

AT_ONCE, MARGIN = 4, 3
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])


def desired(version: str) -> str:
    """Forty objects in waves with hooks of every phase; some are in no other version."""
    waves = [config(f"w{n}", wave=wave, v=version) for n, wave in enumerate((-5, -5, 0, 0, 0, 2, 10) * 4)]
    extras = [config(f"only-{version}-{n}", wave=n - 2, v=version) for n in range(5)]
    hooks = [
        job("before", "PreSync", wave=-1),
        job("migrate", "PreSync", policy="HookSucceeded"),
        job("within", "Sync", wave=2),
        job("after", "PostSync"),
        job("announce", "PostSync", wave=1, policy="HookSucceeded"),
        job("alarm", "SyncFail"),
    ]
    secret = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}})
    return joined(*waves, *extras, *hooks, secret)


def sync(cluster: Cluster, version: str, fence: Callable[[], None] = lambda: None) -> None:
    kept, hooks = split(read(desired(version).encode(), "set.yaml"))
    plan = cluster.look(OWNER, kept, hooks=Hooks(version, tuple(hooks)))
    if plan.acts:
        result = cluster.apply(OWNER, plan, fence=fence)
        assert not result.failure
        assert not result.problems


def sync_until(kubeconfig: Path, namespace: str, last: int) -> None:
    """In a process of its own: killed when it is about to make write number `last`, counted from 0."""
    writes = iter(range(1_000_000))

    def fence() -> None:
        if next(writes) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sync(build(Settings(kubeconfig=kubeconfig, namespace=namespace)), "two", fence)


def settled(cluster: Cluster) -> dict[str, Any]:
    """What counts in the end, once nothing is on its way out any more."""
    end = time.monotonic() + 60
    while True:
        found = state(cluster)
        if not any(is_leaving for _, _, is_leaving in found.values()):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def state(cluster: Cluster) -> dict[str, Any]:
    """Which objects are there, what they say, and whether they are being deleted; of the inventory the names."""
    found = {}
    for api, kind in (("v1", "ConfigMap"), ("v1", "Secret"), ("batch/v1", "Job")):
        for live in cluster.list(api, kind):
            meta = live["metadata"]
            if meta["name"] == "kube-root-ca.crt":
                continue
            data = {key: _bare(text, cluster.namespace) for key, text in (live.get("data") or {}).items()}
            found[f"{kind} {meta['name']}"] = (
                str(data),
                str(meta.get("finalizers")),
                "deletionTimestamp" in meta,
            )
    return found


def _bare(text: str, namespace: str) -> list[str]:
    """Lines without digests and uids, which are about the namespace."""
    return [" ".join(line.replace(namespace, "NS").split(" ")[:4]) for line in text.splitlines()]


@pytest.mark.timeout(1200)  # some seventy positions, each with a cluster of its own to look at
def test_a_sync_killed_after_any_write_is_finished_by_the_next_one(
    either: World, kubeconfig_of: Path
) -> None:
    def begun(name: str) -> Cluster:
        """A namespace where a part of version one is live: some to be changed, some to be pruned."""
        cluster = build(Settings(kubeconfig=kubeconfig_of, namespace=name, create_namespace=True))
        cluster.prepare()
        kept, _ = split(read(desired("one").encode(), "set.yaml"))
        cluster.apply(OWNER, cluster.look(OWNER, kept[20:]), fence=lambda: None)
        return cluster

    def killed_and_finished(last: int) -> tuple[int | None, dict[str, Any]]:
        cluster = begun(f"k{last}")
        with Jobs(cluster._objects):
            child = FORKED.Process(target=sync_until, args=(kubeconfig_of, f"k{last}", last))
            child.start()
            child.join()
            sync(cluster, "two")
        return child.exitcode, settled(cluster)

    stride = 4 if isinstance(either.requests, Audit) else 1  # a real server takes four times as long
    writes: list[str] = []
    reference = begun("reference")
    with Jobs(reference._objects):
        sync(reference, "two", lambda: writes.append("one"))
    expected = settled(reference)
    assert len(expected) == 28 + 5 + 1 + 3 + 1, "objects, what is new, the Secret, three hooks, the inventory"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(killed_and_finished, range(0, len(writes) + MARGIN, stride)))
    codes = [code for code, _ in ends]
    assert set(codes) == {-signal.SIGKILL, 0}, "a conflict more or less makes one write more or less"
    assert codes.count(0) <= MARGIN + 3
    different = {
        n: found.items() ^ expected.items() for n, (_, found) in enumerate(ends) if found != expected
    }
    assert different == {}
