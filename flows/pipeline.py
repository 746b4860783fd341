"""pipeline: a revision becomes a release, and the release goes as far as its evidence carries it."""

from __future__ import annotations

from typing import Any, cast

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.deliver import deliver
from flows.integrate import integrate
from tasks._run import rename
from tidegate.domain.release import Release


@flow(flow_run_name="{app} {revision}")
async def pipeline(app: str, revision: str = "newest") -> State[Any]:
    """From commit to production: `integrate`, then `deliver`.

    Args:
        app: Name of the application, as its file in the fleet says it.
        revision: "newest", or a full commit id of the application's branch.
    """
    with tags(f"app:{app}", "kind:pipeline"):
        made = await integrate(app, revision[:40], return_state=True)
        if not made.is_completed():
            return Failed(name=made.name or "Refused", message=made.message)
        release = cast(Release, await made.aresult())
        await rename(f"{app} {release.id}: {release.subject}")
        delivered = await deliver(app, return_state=True)
        build = Completed if delivered.is_completed() else Failed
        return build(name=delivered.name, message=delivered.message)
