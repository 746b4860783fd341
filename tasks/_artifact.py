"""Artifacts: written where a person looks first, kept up to date in place. Views only: a lost one costs nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.utilities.context import get_task_and_flow_run_ids

log = logging.getLogger(__name__)
LIMIT = 90_000
"""Characters of an artifact: more is stored twice and slows the server."""
PATIENCE = 10.0
"""Seconds a view may take; a rollback may be waiting behind it."""


@dataclass(frozen=True, slots=True)
class _Written:
    id: UUID
    text: str
    description: str


_written: dict[tuple[UUID, str], _Written] = {}
"""What this process has written and may write over, by run and key."""


def key_of(*parts: str) -> str:
    """An artifact's key: lower case, digits, dashes; one key is one history."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


@asynccontextmanager
async def view_only(what: str) -> AsyncIterator[PrefectClient]:
    """A client for what may be lost: a view neither stops nor long delays the thing it shows."""
    try:
        async with asyncio.timeout(PATIENCE), get_client() as client:
            yield client
    except (TimeoutError, httpx.HTTPError, PrefectException) as problem:
        log.warning("%s is not shown: %s", what, problem or "the server does not answer")


async def add(key: str, text: str, description: str) -> None:
    """A new artifact of the task run we are in; nothing outside of a run."""
    task_run, flow_run = get_task_and_flow_run_ids()
    if flow_run is None:
        return
    async with view_only(key) as client:
        await client.create_artifact(_request(key, text, description, flow_run, task_run))


async def keep(key: str, text: str, description: str, *, on_top: bool = False) -> None:
    """The one artifact of this key in our flow run, or `on_top`, in the run that all began with; written over."""
    task_run, flow_run = get_task_and_flow_run_ids()
    if flow_run is None:
        return
    async with view_only(key) as client:
        if on_top:
            task_run, flow_run = None, await _topmost(client, flow_run)
        await _write(client, _request(key, text, description, flow_run, task_run))


async def _write(client: PrefectClient, wanted: ArtifactCreate) -> None:
    assert wanted.flow_run_id and wanted.key
    place, text, description = (wanted.flow_run_id, wanted.key), str(wanted.data), wanted.description or ""
    known = _written.get(place)
    if known is None:
        made = await client.create_artifact(wanted)
        _written[place] = _Written(made.id, text, description)
    elif (known.text, known.description) != (text, description):
        await client.update_artifact(known.id, ArtifactUpdate(data=text, description=description))
        _written[place] = _Written(known.id, text, description)


def _request(key: str, text: str, description: str, flow_run: UUID, task_run: UUID | None) -> ArtifactCreate:
    return ArtifactCreate(
        type="markdown",
        key=key,
        data=text[:LIMIT],
        description=" ".join(description.split()),
        flow_run_id=flow_run,
        task_run_id=task_run,
    )


async def _topmost(client: PrefectClient, run: UUID) -> UUID:
    """The run that a person, an event or the clock has started; its page is the first anybody opens."""
    while True:
        parent = (await client.read_flow_run(run)).parent_task_run_id
        above = (await client.read_task_run(parent)).flow_run_id if parent else None
        if above is None:
            return run
        run = above


def place(key: str) -> str:
    """Where an artifact can be read, relative to the page of another one: so it holds for each UI and each base."""
    known = [written.id for (_, name), written in _written.items() if name == key]
    return f"../artifact/{known[-1]}" if known else f"../key/{key}"
