"""File locks between processes and threads, and what killed processes leave behind in a mirror."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tidegate.adapters.git.failures import DiskFull
from tidegate.errors import Unreachable

STALE_SECONDS = 60.0
"""Git commands are killed long before this, so a lock file of this age whose mirror nobody uses has no owner.
"""


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, timeout: float = 60.0) -> Iterator[None]:
    """Holds `flock` on `path`; the kernel gives it back when the process dies. `Unreachable` after
    `timeout`.
    """
    handle = _open(path)
    try:
        _wait(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout, path)
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskFull(
            f"{path}: cannot be made, disk full or not writable ({error.strerror}); check TIDEGATE_HOME"
        ) from error


def _wait(handle: int, mode: int, timeout: float, path: Path) -> None:
    deadline, pause = time.monotonic() + timeout, 0.002
    while True:
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"mirror lock {path.name}: still held after {timeout:.0f} s; try again"
                ) from None
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def try_exclusive(path: Path) -> contextlib.AbstractContextManager[bool]:
    """Like `locked`, but says `False` instead of waiting."""
    return _try(path)


@contextlib.contextmanager
def _try(path: Path) -> Iterator[bool]:
    handle = _open(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def remove_leftovers(mirror: Path, *, older_than: float = STALE_SECONDS) -> list[Path]:
    """Deletes `*.lock` files and temporary packs and objects of that age. Call it with the mirror locked.

    Argo CD #17623: the lock file of a killed git blocks every application of a repository for good.
    """
    removed = []
    limit = time.time() - older_than
    for folder, _, names in os.walk(mirror):
        for name in names:
            if not (name.endswith(".lock") or name.startswith(("tmp_", "fast_import_crash", ".tmp-"))):
                continue
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if path.stat().st_mtime <= limit:
                    path.unlink()
                    removed.append(path)
    return removed


def remove_orphans(folder: Path, *, older_than: float = STALE_SECONDS) -> None:
    """Deletes folders `.tmp-<pid>-…` whose process has ended: clones that were never finished."""
    limit = time.time() - older_than
    for path in folder.glob(".tmp-*-*"):
        with contextlib.suppress(OSError, ValueError):
            if path.stat().st_ctime <= limit and not _is_running(int(path.name.split("-")[1])):
                shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
