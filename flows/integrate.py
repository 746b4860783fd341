"""integrate: audit and test a revision side by side, build it, and put it on record as a release."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.concurrency.asyncio import concurrency
from prefect.states import Completed, Failed

from tasks import integrating
from tasks._desk import application
from tasks._run import rename
from tasks._thread import in_thread
from tasks.files import checkout
from tidegate.domain.release import Evidence, Image, Release
from tidegate.operations.integrate import Fetched


@flow(flow_run_name="integrate {app} {revision}")
async def integrate(app: str, revision: str = "newest") -> State[Any]:
    """Make a release of a revision: audit, test, build; or refuse it, with the evidence.

    Args:
        app: Name of the application, as its file in the fleet says it.
        revision: "newest", or a full commit id of the application's branch.
    """
    with tags(f"app:{app}", "kind:integrate"):
        async with concurrency(f"{app}.integrate", strict=True, lease_duration=60):
            fetched = await integrating.fetch(app, "" if revision == "newest" else revision)
            await rename(f"integrate {app} {fetched.revision[:7]}")
            release = await integrating.known(app, fetched.revision)
            if release:
                return Completed(message=f"{app} {release.id} is on record already", data=release)
            return await _make(app, fetched)


async def _make(app: str, fetched: Fetched) -> State[Any]:
    async with checkout(app, fetched.revision) as source:
        evidence = await _examine(app, source)
        if not all(e.passed for e in evidence):
            message = await integrating.record_refusal(app, fetched, evidence)
            return Failed(name="Refused", message=message)
        image: Image = await integrating.build(app, source, fetched)
    release: Release = await integrating.record_release(app, fetched, image, evidence)
    return Completed(message=f"{app} {release.id}: {fetched.subject}", data=release)


async def _examine(app: str, source: str) -> list[Evidence]:
    """Audit and tests side by side; every answer counts, so none is cut short by another's no."""
    spec = (await in_thread(application, app)).integrate
    audits = [integrating.audit(app, section, source) for section in spec.audit]
    answers = await asyncio.gather(*audits, integrating.test(app, source))
    return [answer for answer in answers if answer]
