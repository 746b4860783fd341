"""The fence: one holder at a time, nobody locked out by the dead, and whoever lost it hears so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes import KubernetesLease, Settings, build
from tidegate.domain.manifests import ref
from tidegate.errors import Conflict, NotFound, Unreachable
from tidegate.sim.apiserver import ApiServer, Fault

NAME = "tidegate-shop-production"


class Clock:
    """Time that passes when told to; both clocks of a lease read it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.start = datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease_of(world: Any, clock: Clock) -> Iterator[Any]:
    made: list[KubernetesLease] = []

    def lease(holder: str, seconds: float = 600.0) -> KubernetesLease:
        lease = KubernetesLease(
            world.cluster._objects, NAME, holder, seconds, clock=clock.monotonic, now=clock.now
        )
        made.append(lease)
        return lease

    yield lease
    for lease_ in made:
        lease_.release()


def test_only_one_of_two_gets_it_and_the_other_after_its_release(lease_of: Any) -> None:
    one, two = lease_of("one"), lease_of("two")
    assert one.acquire()
    assert not two.acquire()
    assert two.state() == ("one", False)
    one.release()
    assert two.state() is None
    assert two.acquire()
    assert two.token == 2


def test_of_many_at_once_exactly_one_gets_it(lease_of: Any) -> None:
    leases = [lease_of(str(i)) for i in range(8)]
    won: list[bool] = []
    threads = [threading.Thread(target=lambda lease=lease: won.append(lease.acquire())) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1


def test_a_dead_holder_is_followed_once_its_time_is_up(lease_of: Any, clock: Clock) -> None:
    dead, heir = lease_of("dead"), lease_of("heir")
    assert dead.acquire()
    clock.seconds += 600
    assert not heir.acquire(), "clocks may differ a little"
    clock.seconds += 2
    assert heir.state() == ("dead", True)
    assert heir.acquire()


def test_a_stamp_from_a_clock_that_is_ahead_is_overruled_by_watching(lease_of: Any, clock: Clock) -> None:
    clock.start += timedelta(days=1)
    dead = lease_of("dead", seconds=10)
    assert dead.acquire()
    clock.start -= timedelta(days=1)
    heir = lease_of("heir", seconds=10)
    assert not heir.acquire()
    clock.seconds += 11
    assert heir.acquire()


def test_a_holder_that_slept_past_its_time_finds_out_before_it_writes(lease_of: Any, clock: Clock) -> None:
    sleeper, other = lease_of("sleeper"), lease_of("other")
    assert sleeper.acquire()
    clock.seconds += 602
    assert other.acquire()
    for _ in range(2):
        with pytest.raises(Conflict, match="other has it now"):
            sleeper.check()


def test_a_holder_that_slept_may_go_on_when_nobody_came(lease_of: Any, clock: Clock) -> None:
    sleeper = lease_of("sleeper")
    assert sleeper.acquire()
    clock.seconds += 10_000
    sleeper.check()
    assert sleeper.state() == ("sleeper", False)


def test_checking_often_asks_the_server_seldom(lease_of: Any, clock: Clock, world: Any) -> None:
    lease = lease_of("one")
    assert lease.acquire()
    world.requests.clear()
    for _ in range(50):
        lease.check()
    assert world.requests.seen == []
    clock.seconds += 201
    lease.check()
    assert [method for method, _ in world.requests.seen] == ["PUT"]


def test_a_server_that_is_away_for_a_moment_is_no_loss_but_later_stops_us(
    lease_of: Any, clock: Clock, server: ApiServer
) -> None:
    lease = lease_of("one")
    assert lease.acquire()
    server.faults.add(Fault(path="leases", drop="before", count=None))
    clock.seconds += 201
    lease.check()
    clock.seconds += 250
    with pytest.raises(Unreachable):
        lease.check()
    server.faults.clear()
    lease.check()


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_lost_answer_is_read_back(lease_of: Any, clock: Clock, server: ApiServer, method: str) -> None:
    first = lease_of("first")
    if method == "PUT":
        assert first.acquire()
        first.release()
    server.faults.add(Fault(method=method, path="leases", drop="after"))
    lease = lease_of("one")
    assert lease.acquire()
    assert lease.state() == ("one", False)
    assert not lease_of("two").acquire()


def test_the_same_holder_may_acquire_again_without_a_new_token(lease_of: Any) -> None:
    assert lease_of("one").acquire()
    again = lease_of("one")
    assert again.acquire()
    assert again.token == 1


def test_a_held_lease_renews_itself_while_its_holder_waits(world: Any) -> None:
    lease = KubernetesLease(world.cluster._objects, NAME, "one", 1.0)
    other = KubernetesLease(world.cluster._objects, NAME, "two", 1.0)
    assert lease.acquire()
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert not other.acquire()
        time.sleep(0.1)
    lease.check()
    lease.release()
    assert other.acquire()
    other.release()
    assert not [t for t in threading.enumerate() if t.name.startswith("lease-")]


def test_whether_a_holder_lives_is_found_out_by_watching(world: Any) -> None:
    watcher = KubernetesLease(world.cluster._objects, NAME, "", 2.0)
    assert watcher.abandoned(), "nobody has it"
    holder = KubernetesLease(world.cluster._objects, NAME, "one", 2.0)
    assert holder.acquire()
    assert not watcher.abandoned()
    holder._stop.set()  # as if its process had died
    assert watcher.abandoned()
    holder.release()
    assert watcher.abandoned()


@pytest.mark.parametrize("finalizers", [[], ["example.org/wait"]], ids=["gone", "on its way out"])
def test_a_lease_deleted_by_hand_is_lost(
    lease_of: Any, clock: Clock, world: Any, finalizers: list[str]
) -> None:
    lease = lease_of("one")
    assert lease.acquire()
    live = world.get("Lease", NAME, "coordination.k8s.io")
    metadata = {"name": NAME, "namespace": "shop", "finalizers": finalizers}
    world.patch({"apiVersion": live["apiVersion"], "kind": "Lease", "metadata": metadata}, "somebody")
    world.cluster._objects.delete(ref(live), uid=live["metadata"]["uid"])
    clock.seconds += 250
    with pytest.raises(Conflict, match="nobody has it now"):
        lease.check()
    if finalizers:
        assert not lease_of("two").acquire(), "what is on its way out cannot be held"


def test_a_missing_namespace_is_not_taken_for_another_holder(kubeconfig: Path) -> None:
    cluster = build(Settings(kubeconfig=kubeconfig, namespace="nowhere"))
    with pytest.raises(NotFound, match="namespace nowhere is not there; create it, or set create_namespace"):
        cluster.lease(NAME, "one").acquire()


SLEEPER = """
import os, signal, sys
from pathlib import Path
from tidegate.adapters.targets.kubernetes import KubernetesLease, Settings, build
from tidegate.domain.manifests import read
from tidegate.domain.plan import Owner

cluster = build(Settings(kubeconfig=Path(sys.argv[1]), namespace="shop"))
lease = KubernetesLease(cluster._objects, sys.argv[2], "sleeper", 1.0)
assert lease.acquire()
owner = Owner("shop", "production", "default")
text = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {by: sleeper}}"
plan = cluster.look(owner, read(text, "x"))
print("stopped", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
cluster.apply(owner, plan, fence=lease.check)
"""


def test_a_stopped_process_that_wakes_after_the_takeover_writes_nothing(world: Any, kubeconfig: Path) -> None:
    command = [sys.executable, "-c", SLEEPER, str(kubeconfig), NAME]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert child.stdout.readline() == "stopped\n"
            heir = KubernetesLease(world.cluster._objects, NAME, "heir", 600.0)
            end = time.monotonic() + 10
            while not heir.acquire():
                assert time.monotonic() < end
                time.sleep(0.1)
            world.requests.clear()
            os.kill(child.pid, signal.SIGCONT)
            said = child.stderr.read()
        finally:
            child.kill()
    assert "heir has it now" in said
    assert [path for _, path in world.requests.writes if "leases" not in path] == []
    assert world.get("ConfigMap", "a") is None
    heir.release()
