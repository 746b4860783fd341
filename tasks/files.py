"""A revision's files on disk for as long as a flow needs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tasks._desk import application
from tasks._thread import in_thread
from tidegate.operations import integrate
from tidegate.settings import settings


@asynccontextmanager
async def checkout(app: str, revision: str) -> AsyncIterator[str]:
    """The revision's files in a folder of their own, gone afterwards."""
    files = integrate.checkout(application(app), settings(), revision)
    source = await in_thread(files.__enter__)
    try:
        yield str(source)
    finally:
        await in_thread(files.__exit__, None, None, None)
