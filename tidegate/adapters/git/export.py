"""A commit's files on disk, for steps that need a folder: no `.git`, and nothing that leads outside."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tidegate.adapters.git.address import file_path
from tidegate.adapters.git.failures import DiskFull
from tidegate.adapters.git.store import MAX_OBJECT
from tidegate.adapters.git.trees import LINK, SUBMODULE, Entry, Trees, check, resolve
from tidegate.errors import OutsideError, Rejected, SpecError

_AT_ONCE = 64 * 1024 * 1024


def export(trees: Trees, sha: str, folder: Path, subject: str) -> None:
    """Writes the tree into `folder` (made if needed, must be empty); `Rejected` for what may not be
    written.
    """
    files = trees.below(sha, "")
    links = {path: entry for path, entry in files.items() if entry.mode == LINK}
    plain = {path: entry for path, entry in files.items() if entry.mode not in (LINK, SUBMODULE)}
    _check_names(files, subject)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutsideError(f"{folder}: not empty; give a new folder")
        for part in _parts(plain, trees.sizes(entry.id for entry in plain.values())):
            for path, data in trees.blobs_of(part).items():
                check(subject, path, data, MAX_OBJECT)
                _write(folder / path, data, executable=plain[path].mode == "100755")
        for path, data in trees.blobs_of(links).items():  # last, so that no file is written through a link
            _link(folder, path, data.decode(errors="surrogateescape"), subject)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise DiskFull(f"{folder}: disk full or not writable ({error.strerror}); free space") from error
        raise OutsideError(f"{folder}: cannot be written ({error.strerror})") from error


def _check_names(files: Mapping[str, Entry], subject: str) -> None:
    for path, entry in files.items():
        try:
            file_path(path)
        except SpecError as error:
            raise Rejected(f"{subject}: {error}") from error
        if entry.mode == SUBMODULE:
            raise Rejected(
                f"{subject}: {path} is a submodule, which is not fetched; put the files into the repository"
            )


def _parts(files: Mapping[str, Entry], sizes: Mapping[str, int]) -> Iterator[dict[str, Entry]]:
    """As many files at a time as may be in memory together."""
    part: dict[str, Entry] = {}
    room = _AT_ONCE
    for path, entry in files.items():
        if part and sizes[entry.id] > room:
            yield part
            part, room = {}, _AT_ONCE
        part[path] = entry
        room -= sizes[entry.id]
    if part:
        yield part


def _write(path: Path, data: bytes, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o755 if executable else 0o644), "wb") as file:
        file.write(data)


def _link(folder: Path, path: str, target: str, subject: str) -> None:
    resolve(path, target, f"{subject}: {path}")
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    if not place.resolve().is_relative_to(folder.resolve()):  # through another link
        place.unlink()
        raise Rejected(f"{subject}: {path} is a link out of the repository ({target})")
