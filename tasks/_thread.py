"""Blocking adapter calls from async tasks, without ever leaving one running behind."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call; if stopped, wait for its end, so that nobody restores while it writes."""
    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await asyncio.wait({work})
        raise
