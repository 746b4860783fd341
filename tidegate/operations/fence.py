"""The fence: only the holder of the stage's Lease may write, whoever else believes to be in charge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tidegate.errors import Conflict
from tidegate.operations.desk import Desk, Fence


def lease_name(desk: Desk) -> str:
    """`tidegate-<app>-<stage>` in the target namespace."""
    return f"tidegate-{desk.app}-{desk.stage.name}"


@contextmanager
def holding(desk: Desk, holder: str) -> Iterator[Fence]:
    """Hold the stage's Lease; yields the check to make before every effect. `Conflict` when another run holds it."""
    desk.target.prepare()
    lease = desk.target.lease(lease_name(desk), holder)
    if not lease.acquire():
        state = lease.state()
        other = state[0] if state else "another run"
        raise Conflict(
            f"{desk.app} {desk.stage.name} is being worked on by {other}; it will see this by itself"
        )
    try:
        yield lease.check
    finally:
        lease.release()


def abandoned(desk: Desk) -> bool:
    """Whether nobody holds the stage's Lease, or whoever did has stopped renewing it. Waits until that is clear."""
    free: bool = desk.target.lease(lease_name(desk), "").abandoned()
    return free
