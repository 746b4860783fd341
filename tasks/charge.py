"""In charge: one run at a time per application and stage, by Prefect's limit first and the cluster's Lease always."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager

from prefect.concurrency.asyncio import concurrency

from tasks._desk import desk
from tasks._run import flow_run
from tasks._thread import in_thread
from tidegate.errors import Conflict
from tidegate.operations.desk import Desk, Fence
from tidegate.operations.fence import abandoned, holding

log = logging.getLogger(__name__)
_fences: dict[tuple[str, str], Fence] = {}


class Busy(Exception):
    """Another run is in charge of the stage; it will see by itself whatever this one came for."""


def limit_name(app: str, stage: str) -> str:
    """Name of the global concurrency limit of a stage."""
    return f"{app}.{stage}"


def fence(app: str, stage: str) -> Fence:
    """The check to make before every effect on a stage this run is in charge of."""
    return _fences[app, stage]


@asynccontextmanager
async def in_charge(app: str, stage: str) -> AsyncIterator[None]:
    """Take charge of a stage, or raise `Busy`. Inside a run that is in charge already it changes nothing."""
    if (app, stage) in _fences:
        yield
        return
    at = desk(app, stage)
    async with AsyncExitStack() as stack:
        await _slot(stack, at)
        lease, _fences[app, stage] = await _lease(at)
        try:
            yield
        finally:
            del _fences[app, stage]
            await in_thread(lease.__exit__, None, None, None)


async def _lease(at: Desk) -> tuple[AbstractContextManager[Fence], Fence]:
    """The Lease; one that a run was killed with is waited for, because nobody else may come by to go on."""
    holder = f"{flow_run() or 'program'} {uuid.uuid4().hex[:8]}"
    while True:
        lease = holding(at, holder)
        try:
            return lease, await in_thread(lease.__enter__)
        except Conflict as error:
            if not await in_thread(abandoned, at):
                raise Busy(str(error)) from error


async def _slot(stack: AsyncExitStack, at: Desk) -> None:
    """Prefect's slot; one that a dead run still blocks is passed by: the Lease decides."""
    name = limit_name(at.app, at.stage.name)
    try:
        slot = concurrency(name, strict=True, lease_duration=60, timeout_seconds=5)
        await stack.enter_async_context(slot)
    except TimeoutError:
        if not await in_thread(abandoned, at):
            raise Busy(f"{at.app} {at.stage.name} is being worked on by another run") from None
        log.info("%s: the slot's holder is gone, its lease has run out; going on", name)
