"""One YAML reader for specs and manifests: kubectl's scalar rules, JSON's data model, hard limits.

Stock loaders change values on their way to the API server (`1:30` is 90, `1e3` a string, a date a `date`),
keep the last of two equal keys, and crash on 30 kB of `[`. Here a value is what `kubectl` would send,
whatever cannot be sent is refused with its place, and every limit holds while the text is being parsed, not
after. Rules: goyaml v2 `resolve.go` and `sigs.k8s.io/yaml`, checked against `kubectl label --local`.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tidegate.errors import SpecError
from tidegate.yaml_reader.limits import LIMITS, Limits, fail, too_large
from tidegate.yaml_reader.nodes import child, compose, nodes
from tidegate.yaml_reader.scalars import TAG
from tidegate.yaml_reader.text import checked_text
from tidegate.yaml_reader.values import MAY_ALIAS, Builder

__all__ = ["LIMITS", "Document", "Limits", "read", "read_bytes", "read_file"]


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as JSON data, and where in the file its parts are written."""

    data: Any
    source: str
    line: int = 1
    """First line of its content, from 1."""
    _text: bytes = field(default=b"", repr=False, compare=False)
    _index: int = field(default=0, repr=False, compare=False)
    _root: list[yaml.Node] = field(default_factory=list, repr=False, compare=False)

    def position(self, path: tuple[str | int, ...], *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path` (its key when `key`), or of its nearest parent.

        The file is parsed a second time on the first call, so documents stay small while all is well.
        """
        if not self._root:
            self._root.append(compose(self._text, self.source, self._index))
        node, mark = self._root[0], self._root[0].start_mark
        for part in path:
            found = child(node, part)
            if found is None:
                break
            named, node = found
            mark = (named if key else node).start_mark
        return mark.line + 1, mark.column + 1


def read(text: bytes, source: str, *, limits: Limits = LIMITS, last_wins: bool = False) -> list[Document]:
    """The documents of a YAML text that have content, as JSON data: str, int, float, bool, None, list, dict.

    `source` names the file in errors; with `last_wins` a key may be written twice, for files of others.
    Raises `SpecError`: one sentence `file:line:column: what happened; what helps`.
    """
    body = checked_text(text, source, limits)
    builder = Builder(source, limits, aliases=MAY_ALIAS.search(body) is not None, last_wins=last_wins)
    documents = []
    for index, node in enumerate(nodes(body, source, limits)):
        if index == limits.documents:
            fail(source, node.start_mark, f"more than {limits.documents:,} documents", "split the file")
        if node.tag == f"{TAG}null" and not node.value:
            continue
        data = builder.build(node)
        documents.append(Document(data, source, node.start_mark.line + 1, body, index))
    return documents


def read_file(path: Path, *, source: str | None = None, limits: Limits = LIMITS) -> list[Document]:
    """`read` of a regular file. Raises `SpecError`."""
    return read(read_bytes(path, limits=limits), source or str(path), limits=limits)


def read_bytes(path: Path, *, limits: Limits = LIMITS) -> bytes:
    """A regular file's content; its size is looked at before a byte is read. Raises `SpecError`."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SpecError(f"{path}: not a regular file; give the path of a YAML file")
        if found.st_size > limits.size:
            raise too_large(str(path), found.st_size, limits)
        with path.open("rb") as stream:
            return stream.read(limits.size + 1)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
