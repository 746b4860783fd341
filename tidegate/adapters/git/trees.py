"""Reading trees without a work tree or index: listings by tree id (immutable, so cached) and blobs in
bulk.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from tidegate.adapters.git.address import file_path, folder_path
from tidegate.adapters.git.failures import Corrupt
from tidegate.adapters.git.remote import Remote
from tidegate.adapters.git.store import MAX_OBJECT, Store
from tidegate.errors import NotFound, Rejected

MAX_FILES = 200_000
"""A tree with more files is refused."""
MAX_LISTING = MAX_FILES * 256
"""Bytes of their names."""
MAX_BLOB = 10 * 1024 * 1024
"""A file of configuration with more bytes is refused."""

RECENT_BYTES = 16 * 1024 * 1024
"""Bytes of blobs kept in memory per mirror: a look reads mostly what the one before has read."""

T = TypeVar("T")
LINK, SUBMODULE, FOLDER = "120000", "160000", "40000"
_FEW = 8
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree."""

    mode: str
    id: str


class Recent(Generic[T]):
    """What was read last, for several threads; keys are ids of Git's, so nothing is ever thrown out for being old."""

    def __init__(self, size: int, weigh: Callable[[T], int] | None = None) -> None:
        self._kept: LRUCache[str, T] = LRUCache(size, weigh)
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        """What was put there, unless there was too much since."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: str, value: T) -> T:
        """Keep a value; returns it."""
        with self._lock, contextlib.suppress(ValueError):  # one that alone weighs too much is not kept
            self._kept[key] = value
        return value


class Trees:
    """The trees and blobs of one mirror."""

    def __init__(self, store: Store, remote: Remote) -> None:
        self._store, self._remote = store, remote
        self._folders: Recent[Mapping[str, Entry]] = Recent(1024)
        self._listings: Recent[Mapping[str, Entry]] = Recent(32)
        self._blobs: Recent[bytes] = Recent(RECENT_BYTES, len)

    # -- finding ---------------------------------------------------------------------------------------------
    def root(self, sha: str) -> str:
        """The tree id of a commit; `NotFound` when the mirror does not have the commit."""
        found = self._store.object(sha)
        if found is None or found.type != "commit":
            raise NotFound(f"{self._store.address.url}: no commit {sha}; fetch its branch first")
        return found.data[5:].split(b"\n", 1)[0].decode()

    def entry(self, sha: str, path: str) -> Entry | None:
        """What is at `path` (empty: the root), or `None`."""
        here = Entry(FOLDER, self.root(sha))
        for name in path.split("/") if path else ():
            if here.mode != FOLDER:
                return None
            found = self._folder(here.id).get(name)
            if found is None:
                return None
            here = found
        return here

    def tree_id(self, sha: str, folder: str) -> str | None:
        """The id of a folder's tree, or `None` when there is no such folder."""
        found = self.entry(sha, folder_path(folder))
        return found.id if found and found.mode == FOLDER else None

    def _folder(self, tree: str) -> Mapping[str, Entry]:
        kept = self._folders.get(tree)
        if kept is not None:
            return kept
        found = self._store.object(tree)
        if found is None:
            raise Corrupt(f"{self._store.address.url}: tree {tree} is missing from the mirror")
        return self._folders.put(tree, dict(_parse(found.data, len(tree) // 2)))

    def listing(self, tree: str) -> Mapping[str, Entry]:
        """All files below a tree, path → entry, in Git's order; `Rejected` when they are too many."""
        kept = self._listings.get(tree)
        if kept is not None:
            return kept
        output = self._store.run("ls-tree", "-r", "-z", "--full-tree", tree, limit=MAX_LISTING).out
        rows = output.split(b"\0")[:-1]
        if len(rows) > MAX_FILES:
            raise Rejected(
                f"{self._store.address.url}: {len(rows)} files, more than {MAX_FILES}; use a smaller folder"
            )
        return self._listings.put(tree, dict(map(_row, rows)))

    def below(self, sha: str, folder: str) -> Mapping[str, Entry]:
        """All files below a folder of a commit: path from the repository's root → entry. Empty when it is
        absent.
        """
        folder = folder_path(folder)
        tree = self.tree_id(sha, folder)
        if tree is None:
            return {}
        prefix = f"{folder}/" if folder else ""
        return {prefix + path: entry for path, entry in self.listing(tree).items()}

    # -- reading ---------------------------------------------------------------------------------------------
    def read(self, sha: str, path: str) -> bytes | None:
        """A file's content, or `None` when there is none. A symbolic link is followed inside the
        repository.
        """
        found = self.entry(sha, file_path(path))
        if found is None or found.mode in (FOLDER, SUBMODULE):
            return None
        return self.contents(sha, {path: found})[path]

    def contents(self, sha: str, files: Mapping[str, Entry], *, limit: int = MAX_BLOB) -> dict[str, bytes]:
        """The files' bytes; what the mirror has not yet is fetched in one go. `Rejected` for what we
        refuse.
        """
        entries = {path: self.follow(sha, path, entry) for path, entry in files.items()}
        blobs = self.blobs(entry.id for entry in entries.values())
        found = {path: blobs[entry.id] for path, entry in entries.items()}
        for path, data in found.items():
            check(self._store.address.url, path, data, limit)
        return found

    def follow(self, sha: str, path: str, entry: Entry) -> Entry:
        """The entry itself, or the file a link leads to; `Rejected` for links out of the tree and
        submodules.
        """
        subject = f"{self._store.address.url}: {path}"
        for _ in range(8):
            if entry.mode == SUBMODULE:
                raise Rejected(
                    f"{subject} is a submodule, which is not fetched; put the files into the repository"
                )
            if entry.mode != LINK:
                return entry
            text = self.blobs([entry.id])[entry.id].decode(errors="surrogateescape")
            path = resolve(path, text, subject)
            found = self.entry(sha, path)
            if found is None or found.mode == FOLDER:
                raise Rejected(f"{subject} is a link to {text}, which is no file of the repository")
            entry = found
        raise Rejected(f"{subject} is a link that leads in a circle")

    def blobs_of(self, files: Mapping[str, Entry]) -> dict[str, bytes]:
        """The stored bytes of entries as they are: links are not followed, nothing is refused."""
        blobs = self.blobs(entry.id for entry in files.values())
        return {path: blobs[entry.id] for path, entry in files.items()}

    def blobs(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Blobs by id. What a blobless mirror lacks comes in one fetch, never one by one."""
        wanted = list(dict.fromkeys(ids))
        recent = {id: data for id in wanted if (data := self._blobs.get(id)) is not None}
        fresh = self._read([id for id in wanted if id not in recent])
        for id, data in fresh.items():
            self._blobs.put(id, data)
        return recent | fresh

    def _read(self, wanted: list[str]) -> dict[str, bytes]:
        if len(wanted) <= _FEW:
            found = self._few(wanted)
            if missing := [id for id in wanted if id not in found]:
                self._remote.fetch_objects(missing)
                found |= self._few(missing)
            self._complete(wanted, found)
            return found
        self.sizes(wanted)
        return dict(_batch(self._cat("--batch", wanted)))

    def _few(self, ids: list[str]) -> dict[str, bytes]:
        objects = (self._store.object(id) for id in ids)
        return {found.id: found.data for found in objects if found}

    def sizes(self, ids: Iterable[str]) -> dict[str, int]:
        """Bytes of blobs by id; brings those the mirror lacks. `Rejected` for one that is too large."""
        wanted = list(dict.fromkeys(ids))
        found = _sizes(self._cat("--batch-check", wanted))
        if missing := [id for id in wanted if id not in found]:
            self._remote.fetch_objects(missing)
            found |= _sizes(self._cat("--batch-check", missing))
        self._complete(wanted, found)
        for id, size in found.items():
            if size > MAX_OBJECT:
                raise Rejected(
                    f"{self._store.address.url}: object {id} has {size} bytes, more than {MAX_OBJECT}"
                )
        return found

    def _cat(self, mode: str, ids: list[str]) -> bytes:
        return self._store.run("cat-file", mode, stdin="".join(f"{id}\n" for id in ids).encode()).out

    def _complete(self, wanted: list[str], found: Mapping[str, object]) -> None:
        for id in wanted:
            if id not in found:
                raise Corrupt(f"{self._store.address.url}: blob {id} is missing from the mirror")


def check(subject: str, path: str, data: bytes, limit: int) -> None:
    """`Rejected` for a file over the limit, and for an LFS pointer where its content is meant."""
    if len(data) > limit:
        raise Rejected(
            f"{subject}: {path} has {len(data)} bytes, more than {limit}; keep large files elsewhere"
        )
    if data.startswith(_LFS) and len(data) < 1024:
        raise Rejected(
            f"{subject}: {path} is a Git LFS pointer, and LFS is not fetched; store the file itself"
        )


def resolve(path: str, target: str, subject: str) -> str:
    """Where a link at `path` leads inside the repository; `Rejected` when that is outside."""
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise Rejected(f"{subject} is a link out of the repository ({target})")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if target.startswith("/") or not parts:
        raise Rejected(f"{subject} is a link out of the repository ({target})")
    return "/".join(parts)


def _parse(data: bytes, size: int) -> Iterator[tuple[str, Entry]]:
    """A raw tree object: `<mode> <name>\\0<id>` over and over."""
    position = 0
    while position < len(data):
        end = data.index(b"\0", position)
        mode, _, name = data[position:end].partition(b" ")
        position = end + 1 + size
        entry = Entry(mode.decode(), data[end + 1 : position].hex())
        yield name.decode(errors="surrogateescape"), entry


def _row(row: bytes) -> tuple[str, Entry]:
    head, _, name = row.partition(b"\t")
    mode, _, id = head.decode().split(" ")
    return name.decode(errors="surrogateescape"), Entry(mode, id)


def _batch(output: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        words = output[position:end].decode().split(" ")
        position = end + 1
        if len(words) != 3:
            continue  # "<id> missing"
        size = int(words[2])
        yield words[0], output[position : position + size]
        position += size + 1


def _sizes(output: bytes) -> dict[str, int]:
    rows = (line.split(" ") for line in output.decode().splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) == 3}
