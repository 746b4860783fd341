"""`python -m tidegate.server …` is `prefect server start …`, with its garbage collected where nobody waits.

On SQLite the server stalls for a minute at a time under load: Python's collector runs on the event loop's
thread, frees a forgotten cursor, and blocks in `sqlite3_reset` until another thread's statement on the same
connection ends. That statement waits for a lock whose owner needs the event loop; only SQLite's `busy_timeout`
(60 s) breaks the circle. Here a thread of its own collects, and may wait there as long as it likes.
"""

from __future__ import annotations

import gc
import runpy
import sys
import threading
import time

EVERY_SECONDS = 2.0


def collect_for_ever() -> None:
    """Collect the young generations often and the old one now and then, until the process ends."""
    rounds = 0
    while True:
        time.sleep(EVERY_SECONDS)
        rounds += 1
        gc.collect(2 if rounds % 15 == 0 else 1)


def main() -> None:
    """Become the Prefect server with the arguments given."""
    gc.disable()
    threading.Thread(target=collect_for_ever, name="garbage", daemon=True).start()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
