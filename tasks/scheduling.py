"""Come back later: the next look of a run that ends because it would only wait."""

from __future__ import annotations

import logging
from datetime import datetime

from prefect import task
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound

from tasks._retry import patient

log = logging.getLogger(__name__)


@task(task_run_name="look again at {until}", **patient)
async def look_again(app: str, until: datetime) -> None:
    """Schedule `deliver` for then, once however often it is asked; without a registered one, nobody is there."""
    try:
        await arun_deployment(
            "deliver/deliver",
            parameters={"app": app},
            scheduled_time=until,
            timeout=0,
            as_subflow=False,
            idempotency_key=f"deliver {app} {until.isoformat(timespec='seconds')}",
        )
    except ObjectNotFound:
        log.info("%s: no deployment `deliver` is registered; run it again after %s", app, until)
