"""Talking to a child process: both ways at once, with a deadline and a limit on what it may say."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from typing import IO

_PIECE = 64 * 1024
_WORDS = 256 * 1024
"""Of stderr, only so much is kept."""


class TooMuch(Exception):
    """The child wrote more than it may."""


def exchange(
    process: subprocess.Popen[bytes], stdin: bytes, *, seconds: float, limit: int
) -> tuple[bytes, bytes]:
    """Feeds `stdin` and returns (stdout, stderr). Raises `subprocess.TimeoutExpired` and `TooMuch`.

    `Popen.communicate` has no limit: `ls-tree` of a hostile repository writes until memory is gone.
    """
    deadline = time.monotonic() + seconds
    out, err, rest = bytearray(), bytearray(), memoryview(stdin)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        for pipe, event in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
            (process.stderr, selectors.EVENT_READ),
        ):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, event)
        while selector.get_map():
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, seconds)
            for key, _ in selector.select(0.5):
                if key.fileobj is process.stdin:
                    rest = _feed(selector, process.stdin, rest)
                else:
                    kept = out if key.fileobj is process.stdout else err
                    _collect(selector, key.fileobj, kept)  # type: ignore[arg-type]
            if len(out) > limit:
                raise TooMuch
            del err[_WORDS:]
    process.wait(max(0.1, deadline - time.monotonic()))
    return bytes(out), bytes(err)


def _feed(selector: selectors.BaseSelector, pipe: IO[bytes], rest: memoryview) -> memoryview:
    with contextlib.suppress(BlockingIOError):
        try:
            rest = rest[os.write(pipe.fileno(), rest[:_PIECE]) :] if rest else rest
        except BrokenPipeError:  # it has ended, or wants no more: its exit code tells
            rest = rest[:0]
    if not rest:
        selector.unregister(pipe)
        with contextlib.suppress(OSError):
            pipe.close()
    return rest


def _collect(selector: selectors.BaseSelector, pipe: IO[bytes], kept: bytearray) -> None:
    with contextlib.suppress(BlockingIOError):
        piece = os.read(pipe.fileno(), _PIECE)
        kept += piece
        if not piece:
            selector.unregister(pipe)
