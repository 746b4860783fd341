"""What a stage has put into the cluster: the truth for pruning, kept in a ConfigMap.

Before the first write it holds the union of old and new, afterwards the new: whoever dies in between leaves
nothing behind that the next one does not know (Flux, cli-utils `inventory`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from tidegate.domain.manifests import Manifest, Ref, is_secret, ref
from tidegate.domain.tracking import Owner

KEY, SYNC_KEY = "objects", "sync"
_FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object we applied: its name with the version used, the desired state's digest, the live uid."""

    ref: Ref
    digest: str
    uid: str = ""
    """Empty until the object is known to exist."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Which hooks of a sync have done their work, so that nobody runs them again when the sync is begun anew."""

    sync: str = ""
    done: frozenset[str] = frozenset()
    """Runs, as `schedule.Hook.run` calls them."""
    is_finished: bool = True
    """False from the first of them until everything that comes after the last is done, too."""

    def of(self, sync: str) -> Progress:
        """What is known of that sync; nothing when this is about another one."""
        return self if self.sync == sync else Progress(sync)

    def to_text(self) -> str:
        """The sync on the first line, then a sorted line per run and perhaps `finished`; empty when there was none."""
        lines = (self.sync, *sorted(self.done), *([_FINISHED] if self.is_finished else []))
        return "".join(f"{line}\n" for line in lines) if self.sync else ""

    @classmethod
    def from_text(cls, text: str) -> Progress:
        """The progress `to_text` wrote."""
        sync, *done = text.splitlines() or [""]
        return cls(sync, frozenset(done) - {_FINISHED}, is_finished=not text or _FINISHED in done)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All objects of one owner."""

    owner: Owner
    entries: Mapping[Ref, Entry] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    is_stored: bool = field(default=True, compare=False)
    """False for one that was put together from the objects' annotations because its ConfigMap is gone."""

    def union(self, entries: Iterable[Entry]) -> Inventory:
        """With these entries added; a uid that was known stays known."""
        merged = dict(self.entries)
        for entry in entries:
            old = merged.get(entry.ref)
            merged[entry.ref] = replace(entry, uid=entry.uid or (old.uid if old else ""))
        return Inventory(self.owner, merged, self.progress)

    def data(self) -> dict[str, str]:
        """What its ConfigMap holds."""
        sync = self.progress.to_text()
        return {KEY: self.to_text(), **({SYNC_KEY: sync} if sync else {})}

    @classmethod
    def from_data(cls, owner: Owner, data: Mapping[str, str]) -> Inventory:
        """The inventory `data` gave; `ValueError` when a line is none of ours."""
        made = cls.from_text(owner, data.get(KEY, ""))
        return replace(made, progress=Progress.from_text(data.get(SYNC_KEY, "")))

    def to_text(self) -> str:
        """A sorted line per object: `<group/version> <kind> <namespace or -> <name> <digest> <uid or ->`."""
        lines = (
            f"{n.api_version} {n.kind} {n.namespace or '-'} {n.name} {e.digest} {e.uid or '-'}\n"
            for n, e in sorted((e.ref, e) for e in self.entries.values())
        )
        return "".join(lines)

    @classmethod
    def from_text(cls, owner: Owner, text: str) -> Inventory:
        """The inventory `to_text` wrote; `ValueError` when a line is none of ours."""
        entries = (_entry(line) for line in text.splitlines() if line)
        return cls(owner, {e.ref: e for e in entries})


def _entry(line: str) -> Entry:
    api_version, kind, namespace, name, digest, uid = line.split(" ")
    group, _, version = api_version.rpartition("/")
    at = Ref(group, kind, "" if namespace == "-" else namespace, name, version=version)
    return Entry(at, digest, "" if uid == "-" else uid)


def entry(desired: Manifest, live: Manifest | None = None) -> Entry:
    """The entry of a desired object, with the uid of the live one."""
    uid = ((live or {}).get("metadata") or {}).get("uid") or ""
    return Entry(ref(desired), digest(desired), uid)


def digest(desired: Manifest) -> str:
    """16 hex digits of the desired state. Of a Secret only the names count: many may read the digest."""
    body = desired
    if is_secret(desired):
        body = {**desired, "data": sorted(desired.get("data") or {})}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(canonical.encode()).hexdigest()[:16]
