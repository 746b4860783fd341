"""A flow that does nothing but write down when its body began; what a run costs when nobody has anything to do."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow, task


@flow(name="noted")
async def noted(file: str) -> None:
    """Write the time into a file."""
    began = time.time()
    if file:
        _write(Path(file), repr(began))


def _write(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


@task
async def nothing() -> None:
    """The smallest step."""


@flow(name="steps")
async def steps(count: int) -> None:
    """So many of the smallest step."""
    for _ in range(count):
        await nothing()
