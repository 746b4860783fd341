"""A task that fails in several ways under our two retry rules: `python -m tests.flows.flaky` prints its tries."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from prefect import flow, task

from tasks._retry import once, patient
from tidegate.errors import Rejected, SpecError, Unreachable

AT_ONCE: dict[str, Any] = {**patient, "retry_delay_seconds": [0, 0, 0]}
CASES: dict[str, tuple[dict[str, Any], Exception]] = {
    "away": (AT_ONCE, Unreachable("the server is away")),
    "refused": (AT_ONCE, Rejected("it said no")),
    "misspelt": (AT_ONCE, SpecError("apps/shop.yaml:3:1: no")),
    "mistake": (AT_ONCE, ZeroDivisionError("ours")),
    "away, once": (once, Unreachable("the server is away")),
}


async def tries(rule: dict[str, Any], error: Exception) -> int:
    """How often a task was called that would succeed the third time."""
    made = 0

    @task(**rule)
    async def flaky() -> None:
        nonlocal made
        made += 1
        if made < 3:
            raise error

    @flow
    async def trying() -> None:
        await flaky()

    await trying(return_state=True)
    return made


async def main() -> None:
    print(json.dumps({name: await tries(*case) for name, case in CASES.items()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
