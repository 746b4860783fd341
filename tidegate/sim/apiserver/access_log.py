"""Who asked for what: one JSON line per request, so tests can count writing requests."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import IO

from tidegate.sim.apiserver.routes import Request


class AccessLog:
    """Appends `{ts, method, path, query, status, userAgent, fieldManager, dryRun}` to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] | None = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def write(self, request: Request, status: int) -> None:
        """`status` 0: the connection was dropped without an answer."""
        entry = {
            "ts": round(time.time(), 3),
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "status": status,
            "userAgent": request.user_agent,
            "fieldManager": request.query.get("fieldManager", ""),
            "dryRun": request.dry_run,
        }
        with self._lock:
            if self._file is not None:
                self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
