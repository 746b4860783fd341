"""Revisions: one task asks all repositories; each new revision becomes one event."""

from __future__ import annotations

import logging
import time
import uuid

from prefect import task

from tasks._retry import patient
from tasks._thread import in_thread
from tasks.showing import post_event
from tidegate.adapters.fleet import load_fleet
from tidegate.operations.revisions import Found, Revision, find_new
from tidegate.settings import settings

log = logging.getLogger(__name__)
AGAIN = 600
"""Seconds after which a revision that nobody has put on record is announced again."""


@task(task_run_name="ask all repositories", **patient)
async def ask() -> Found:
    """What is new; one `ls-remote` per repository, however many applications share it."""
    fleet = await in_thread(load_fleet, settings())
    found = await in_thread(find_new, fleet.applications, settings())
    for problem in found.problems:
        log.warning("%s", problem)
    return found


@task(task_run_name="announce", **patient)
async def announce(revisions: tuple[Revision, ...]) -> None:
    """Emit `tidegate.revision` once per revision and ten minutes: the id is made of both."""
    for new in revisions:
        log.info("%s: %s is new on %s", new.app, new.sha[:7], new.branch)
        name = f"tidegate:{new.app}:{new.sha}:{int(time.time() // AGAIN)}"
        resource = {"prefect.resource.id": f"tidegate.repo.{new.app}", "prefect.resource.name": new.app}
        payload = {"app": new.app, "revision": new.sha, "branch": new.branch}
        event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        await post_event("tidegate.revision", resource, payload, event_id)
