"""Container logs as files of bounded size: the process writes by itself, so it needs nobody to read a pipe.

A file past `MAX_BYTES` is copied to `<file>.1` and emptied in place (the writer appends, so it goes on at the start);
lines written in the instant between are lost.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

MAX_BYTES = 10 << 20
_CHUNK = 1 << 16
_FOLLOW_SECONDS = 0.2


def log_path(folder: Path, restarts: int) -> Path:
    return folder / f"{restarts}.log"


def rotate(path: Path, limit: int = MAX_BYTES) -> bool:
    """Whether the file was too large and has been emptied."""
    try:
        if path.stat().st_size <= limit:
            return False
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except OSError:
        return False
    return True


def drop_old(folder: Path, restarts: int) -> None:
    """Keeps the logs of this run and the one before."""
    for path in folder.glob("*.log*"):
        number = path.name.partition(".")[0]
        if number.isdigit() and int(number) < restarts - 1:
            path.unlink(missing_ok=True)


def tail(path: Path, lines: int, limit: int = 1 << 20) -> bytes:
    """The last `lines` lines, at most `limit` bytes; empty when there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - limit, 0))
            text = file.read(limit)
    except OSError:
        return b""
    kept = text.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return b"".join(kept)


def last_words(path: Path) -> str:
    """What a container said before it ended: at most ten lines and 1 KiB."""
    return tail(path, 10, 1024).decode("utf-8", "replace").strip()


async def stream(path: Path, start: int, *, follow: bool, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The file from byte `start`; with `follow` what is added, until `alive()` is false and all is read."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        file.seek(start)
        while True:
            going = alive()
            if chunk := file.read(_CHUNK):
                yield chunk
            elif not follow or not going:
                return
            else:
                if os.fstat(file.fileno()).st_size < file.tell():  # emptied by rotation
                    file.seek(0)
                await asyncio.sleep(_FOLLOW_SECONDS)


def offset_of_tail(path: Path, lines: int | None) -> int:
    """The byte at which the last `lines` lines begin; 0 for all of it."""
    if lines is None:
        return 0
    try:
        return path.stat().st_size - len(tail(path, lines, MAX_BYTES))
    except OSError:
        return 0
