"""Render: a stage's folder at a config commit as manifests, remembered by the tree it came from.

The same tree, tool and settings give the same manifests, so a look at a head that has not moved costs no child
process. What is remembered is in memory only (Secrets are in it), bounded, and may vanish at any time.
"""

from __future__ import annotations

import json
import marshal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from cachetools import LRUCache

from tidegate.adapters.git import Mirror
from tidegate.adapters.renderers import Place, Program
from tidegate.domain.manifests import Manifest, ref
from tidegate.domain.tracking import TRACKING_ID, annotations_of
from tidegate.errors import SpecError
from tidegate.operations.desk import Desk

_OURS = "tidegate.dev/"
REMEMBERED = 32 * 2**20
"""Bytes of rendered manifests that a process keeps."""


class Renders:
    """What was rendered last; for several threads. Each asker gets data of its own."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._kept: LRUCache[Any, bytes] = LRUCache(size, len)
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> tuple[Manifest, ...] | None:
        """The manifests that were put there, unless there was too much since."""
        with self._lock:
            found = self._kept.get(key)
        return None if found is None else marshal.loads(found)  # noqa: S302 - our own bytes, never left the process

    def put(self, key: tuple[str, ...], manifests: tuple[Manifest, ...]) -> None:
        """Keep them; what alone is too large is not kept."""
        packed = marshal.dumps(manifests)
        with self._lock, suppress(ValueError):
            self._kept[key] = packed


_renders = Renders()


class Committed(Mapping[str, bytes]):
    """A commit's files below a folder, read when asked for: what one team commits must not spoil another's render."""

    def __init__(self, mirror: Mirror, commit: str, folder: str) -> None:
        self._mirror, self._commit, self._folder = mirror, commit, folder
        self._paths = dict.fromkeys(mirror.paths(commit, folder))

    def pick(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Some of them, in one go."""
        return self._mirror.files(self._commit, paths, self._folder)

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __getitem__(self, path: str) -> bytes:
        if path not in self._paths:
            raise KeyError(path)
        return self.pick([path])[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def render(desk: Desk, commit: str) -> tuple[Manifest, ...]:
    """The manifests of the stage's folder at a config commit; `SpecError` with file and line when they are wrong."""
    folder = desk.stage.path
    # bases and links may lead anywhere in the repository, so the root's tree is what the answer depends on
    tree = desk.config.tree_id(commit, "")
    key = (tree or "", folder, *_made_by(desk))
    kept = _renders.get(key) if tree else None
    if kept is not None:
        return _without_marks(desk, kept)
    whole = desk.application.config.render.kind != "plain"
    files = Committed(desk.config, commit, "" if whole else folder)
    made = tuple(desk.renderer.render(files, folder, _place(desk)))
    if tree:
        _renders.put(key, made)
    return _without_marks(desk, made)


def _without_marks(desk: Desk, manifests: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    """The same, or `SpecError`: who writes our marks would claim an object of another stage, or hold its deletion."""
    ours = f"{desk.owner}:"
    for manifest in manifests:
        claim = annotations_of(manifest).get(TRACKING_ID)
        if claim is not None and not claim.startswith(ours):
            raise SpecError(
                f"{desk.stage.path}: {ref(manifest)} has the annotation {TRACKING_ID}: {claim}, which says that it is"
                " another's; remove it, it is set when the object is applied"
            )
        for name in manifest["metadata"].get("finalizers") or ():
            if str(name).startswith(_OURS):
                raise SpecError(
                    f"{desk.stage.path}: {ref(manifest)} has the finalizer {name}, which is ours; remove it"
                )
    return manifests


def evidence(desk: Desk) -> dict[str, str]:
    """Who renders: the kind, and the version of its tool; asked once per process."""
    tool: Program | None = desk.renderer.tool()
    kind = desk.application.config.render.kind
    return {"kind": kind} if tool is None else {"kind": kind, "tool": tool.name, "version": tool.version}


def _made_by(desk: Desk) -> tuple[str, ...]:
    """All that the answer depends on besides the files."""
    section, place = desk.application.config.render, _place(desk)
    tool: Program | None = desk.renderer.tool()
    settings = json.dumps(section.settings, sort_keys=True)
    return (section.kind, settings, tool.key if tool else "", place.app, place.namespace)


def _place(desk: Desk) -> Place:
    return Place(app=desk.app, namespace=desk.target.namespace)
