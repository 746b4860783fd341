"""`python -m tidegate.running.server …` is `prefect server start …`, with its garbage collected where nobody waits.

On SQLite the server stalls for a minute at a time under load: Python's collector runs on the event loop's
thread, frees a forgotten cursor, and blocks in `sqlite3_reset` until another thread's statement on the same
connection ends. That statement waits for a lock whose owner needs the event loop; only SQLite's `busy_timeout`
(60 s) breaks the circle. Here a thread of its own collects, and may wait there as long as it likes.

It also answers 503 to most of a dozen writers at once: a transaction that has read cannot become a writer after
somebody else has written (https://www.sqlite.org/lang_transaction.html, SQLITE_BUSY_SNAPSHOT), and clients wait
seconds before they ask again. Here transactions say at `BEGIN` that they mean to write, and take turns.
"""

from __future__ import annotations

import asyncio
import gc
import runpy
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

EVERY_SECONDS = 2.0


def collect_for_ever() -> None:
    """Collect the young generations often and the old one now and then, until the process ends."""
    rounds = 0
    while True:
        time.sleep(EVERY_SECONDS)
        rounds += 1
        gc.collect(2 if rounds % 15 == 0 else 1)


def take_turns() -> None:
    """Let the transactions of Prefect's SQLite configuration begin `IMMEDIATE`, first come, first served.

    A transaction within a transaction does not queue behind itself: it begins as Prefect says.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction
    queues: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
    inside: ContextVar[bool] = ContextVar("inside", default=False)

    @asynccontextmanager
    async def in_turn(
        self: AioSqliteConfiguration, session: Any, with_for_update: bool = False
    ) -> AsyncGenerator[Any, None]:
        if inside.get():
            async with begin(self, session, with_for_update=with_for_update) as transaction:
                yield transaction
            return
        async with queues.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            token = inside.set(True)
            try:
                async with begin(self, session, with_for_update=True) as transaction:
                    yield transaction
            finally:
                inside.reset(token)

    AioSqliteConfiguration.begin_transaction = in_turn  # type: ignore[method-assign]


def main() -> None:
    """Become the Prefect server with the arguments given."""
    take_turns()
    gc.disable()
    threading.Thread(target=collect_for_ever, name="garbage", daemon=True).start()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
