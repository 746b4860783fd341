"""The ledger: one JSON record per decision on a branch of its own, append-only, chained by Git's commits."""

from __future__ import annotations

import threading

from tidegate.adapters.git import Mirror, Tree
from tidegate.domain.records import Record
from tidegate.errors import OutsideError

BRANCH = "tidegate/ledger"


class Ledger:
    """The ledger branch of one config repository. Safe to share between threads."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._read: dict[str, Record] = {}
        self._lock = threading.Lock()

    def records(
        self, app: str | None = None, stage: str | None = None, *, refresh: bool = True
    ) -> tuple[Record, ...]:
        """Records in order of time, of one application or stage if named; empty when there is no ledger yet.

        `refresh=False` answers from what was last fetched, also while the remote is down. A record is read
        once: blobs never change. `OutsideError` names a file that is no record.
        """
        if refresh:
            self._mirror.fetch(BRANCH)
        tip = self._mirror.tip(BRANCH)
        if tip is None:
            return ()
        folder = f"{app}/{stage}" if app and stage else app or ""
        found = {
            path: id for path, id in self._mirror.blob_ids(tip, folder).items() if path.endswith(".json")
        }
        known = self._records(tip, found)
        chosen = [
            (known[id], path) for path, id in found.items() if stage is None or known[id].stage == stage
        ]
        return tuple(record for record, _ in sorted(chosen, key=lambda pair: (pair[0].at, pair[1])))

    def _records(self, tip: str, found: dict[str, str]) -> dict[str, Record]:
        with self._lock:
            missing = {id: path for path, id in found.items() if id not in self._read}
        if missing:
            contents = self._mirror.blobs(tip, list(missing))
            fresh = {id: _record(missing[id], data) for id, data in contents.items()}
            with self._lock:
                self._read |= fresh
        with self._lock:
            return {id: self._read[id] for id in found.values()}

    def append(self, *records: Record, offline: bool = False) -> str:
        """Adds the records in one commit and returns its id; records that are there already add nothing.

        `offline=True` keeps the commit here while the remote is down (`Mirror.push_pending`).
        """
        if not records:
            raise ValueError("no record to append")

        def edit(tree: Tree) -> dict[str, bytes | None]:
            return {record.path: record.to_json() for record in records}

        first = records[0]
        result = self._mirror.commit(
            BRANCH,
            edit,
            subject(first),
            body="\n".join(map(subject, records[1:])),
            trailers={
                "Tidegate-Release": first.release,
                "Tidegate-Stage": first.stage,
                "Flow-Run": first.flow_run,
            },
            offline=offline,
        )
        return result.sha


def subject(record: Record) -> str:
    """`app stage: message`, on one line."""
    place = f"{record.app} {record.stage}".strip()
    return " ".join(f"{place}: {record.message}".split())


def _record(path: str, data: bytes) -> Record:
    try:
        return Record.from_json(data)
    except (ValueError, KeyError, TypeError) as error:
        raise OutsideError(
            f"ledger: {path} is not a record ({error}); restore it from the branch's history"
        ) from error
