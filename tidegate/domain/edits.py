"""Promotion as text: a release's digests written into a stage's files, one changed line per image, nothing
else.

A YAML round trip would re-indent lists, move comments and rewrite quotes. Instead the
parser says where the one scalar stands, the text is spliced there, and the result is parsed again to prove
that only the intended values changed. Where that cannot be sure (anchors, merge keys, block scalars) the edit
is refused, with what helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tidegate.domain.release import Image
from tidegate.errors import SpecError
from tidegate.yaml_reader import LIMITS, read
from tidegate.yaml_reader.nodes import nodes
from tidegate.yaml_reader.scalars import TAG
from tidegate.yaml_reader.text import checked_text

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_YAML = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")

Path = tuple[str | int, ...]
"""Where a value is: document number, then keys and indices."""


@dataclass(frozen=True, slots=True)
class _Splice:
    """One piece of text to replace."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Edit:
    """A splice and what it must do to the data: set `path`, and drop `dropped`."""

    splice: _Splice
    path: Path = ()
    value: str = ""
    dropped: Path = ()


def set_images(
    files: Mapping[str, bytes], images: Sequence[Image], render: str, *, values: str | None = None
) -> dict[str, bytes]:
    """The files that change when `images` are promoted into them, path → new content; empty when all is
    right.

    `render` is the stage's renderer: `plain` (containers whose image has the name, any tag), `kustomize`
    (`images:` of the stage's kustomization), `helm` (the dotted path `values` in a values file). `SpecError`
    when an image is nowhere in the files, or stands where it cannot be edited safely; the message says what
    to add or change.
    """
    find = {"plain": _plain, "kustomize": _kustomize, "helm": _values(values)}.get(render)
    if find is None:
        raise SpecError(
            f"render kind {render!r}: images cannot be promoted into it; use plain, kustomize or helm"
        )
    changed: dict[str, bytes] = {}
    for image in images:
        found = False
        for name, text in find({**files, **changed}, image):
            found = True
            if text is not None:
                changed[name] = text
        if not found:
            raise SpecError(_nowhere(files, image, render, values))
    return {name: text for name, text in changed.items() if text != files[name]}


Found = Iterator[tuple[str, bytes | None]]
"""Files that name the image; the new content where it has to change."""


def repository(image: str) -> str:
    """The name of an image reference without tag and digest."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


# -- plain manifests -----------------------------------------------------------------------------------------


def _plain(files: Mapping[str, bytes], image: Image) -> Found:
    for name in sorted(files):
        if not name.endswith(_YAML) or image.name.encode() not in files[name]:
            continue
        text = _Text(name, files[name])
        places = [place for place in text.places(_is_image) if repository(place.node.value) == image.name]
        if places:
            yield name, text.edited(text.set(place, str(image)) for place in places)


def _is_image(path: Path) -> bool:
    """`…/containers/<n>/image`, whatever the kind: pod templates are where they are."""
    match path:
        case (*_, str(key), int(), "image"):
            return key in _CONTAINERS
        case (*_, str(key), int(), "<<", "image"):  # merged in: found, so that it can be refused by name
            return key in _CONTAINERS
    return False


# -- kustomize -----------------------------------------------------------------------------------------------


def _kustomize(files: Mapping[str, bytes], image: Image) -> Found:
    name = _kustomization(files)
    text = _Text(name, files[name])
    if len(text.documents) != 1:
        raise SpecError(f"{name}: {len(text.documents)} documents; a kustomization is one, split the file")
    entries = [place for place in text.places(_is_images_entry) if _entry_name(place) == image.name]
    if entries:
        yield name, text.edited(edit for entry in entries for edit in text.set_digest(entry, image.digest))


def _kustomization(files: Mapping[str, bytes]) -> str:
    found = [name for name in files if name.rpartition("/")[2] in _KUSTOMIZATIONS]
    if not found:
        raise SpecError("no kustomization.yaml in the stage's folder; add one, or set render: plain")
    depth = min(name.count("/") for name in found)
    top = sorted(name for name in found if name.count("/") == depth)
    if len(top) > 1:
        raise SpecError(f"{' and '.join(top)}: more than one kustomization for the stage; keep one")
    return top[0]


def _is_images_entry(path: Path) -> bool:
    match path:
        case (_, "images", int()):
            return True
    return False


def _entry_name(place: _Place) -> str:
    """What the entry makes of the image: `newName`, else `name`."""
    pairs = dict(_scalars(place.node))
    found = pairs.get("newName") or pairs.get("name")
    return found.value if found else ""


# -- values of a chart ---------------------------------------------------------------------------------------


def _values(dotted: str | None) -> Callable[[Mapping[str, bytes], Image], Found]:
    def find(files: Mapping[str, bytes], image: Image) -> Found:
        if not dotted:
            raise SpecError("config.images is not set; write the dotted path of the image in the values file")
        keys = tuple(dotted.split("."))
        inner = _inside_charts(files)
        for name in sorted(files):
            if name.endswith(_YAML) and not name.startswith(inner):
                text = _Text(name, files[name])
                for place in text.places(lambda path: path[1:] == keys):
                    yield name, text.edited([text.set_value(place, image)])

    return find


def _inside_charts(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Folders of charts that hold no values of theirs: templates are no YAML, and a dependency is somebody else's."""
    charts = [name.removesuffix("Chart.yaml") for name in files if f"/{name}".endswith("/Chart.yaml")]
    return tuple(f"{chart}{below}/" for chart in charts for below in ("templates", "charts", "crds"))


# -- text ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A node and how it was reached."""

    path: Path
    node: Any
    shared: bool
    """It, or something around it, is reached by an alias too."""


class _Text:
    """One YAML file with the positions of its values."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        body = checked_text(content, name, LIMITS)
        self._mark = content[: len(content) - len(body)]  # a byte order mark
        self.text = body.decode()
        self.documents = [node for node in nodes(body, name, LIMITS) if not _is_empty(node)]

    def places(self, wanted: Callable[[Path], bool]) -> list[_Place]:
        """Every node whose path is wanted, in the order of the text; one reached by aliases once."""
        found: dict[int, _Place] = {}
        seen: dict[int, int] = {}
        for number, document in enumerate(self.documents):
            for path, node, around in _walk(document, (number,), (), seen):
                if wanted(path):
                    shared = any(seen[id(outer)] > 1 for outer in (*around, node))
                    kept = found.get(id(node))
                    found[id(node)] = _Place(kept.path if kept else path, node, shared or kept is not None)
        # aliases may come after the node: count again now that all have been seen
        return [self._counted(place, seen) for place in found.values()]

    def _counted(self, place: _Place, seen: Mapping[int, int]) -> _Place:
        return place if place.shared or seen[id(place.node)] == 1 else _Place(place.path, place.node, True)

    # -- edits -----------------------------------------------------------------------------------------------
    def set(self, place: _Place, value: str) -> _Edit | None:
        """Replaces a scalar, keeping its quotes; `None` when it is right already."""
        if place.node.value == value:
            return None
        splice = self._scalar(place, value)
        return _Edit(splice, place.path, value)

    def set_value(self, place: _Place, image: Image) -> _Edit | None:
        """A chart's value: `name@sha256:…` where it held a reference, the digest alone where it held a
        digest.
        """
        scalar = isinstance(place.node, yaml.ScalarNode)
        digest_only = scalar and (place.node.value.startswith("sha256:") or not place.node.value)
        return self.set(place, image.digest if digest_only else str(image))

    def set_digest(self, place: _Place, digest: str) -> Iterator[_Edit | None]:
        """`digest:` of a kustomization's images entry: replaced, or put where `newTag` was, or added
        below.
        """
        if place.shared:
            raise SpecError(self._refusal(place.node, "an anchor or alias"))
        keys = {str(key.value): (key, value) for key, value in place.node.value}
        tag = keys.get("newTag")
        if "digest" in keys:
            yield self.set(_Place((*place.path, "digest"), keys["digest"][1], False), digest)
            if tag:
                yield self._without(place, *tag)
        elif tag:
            self._scalar(_Place(place.path, tag[1], False), digest)
            splice = _Splice(tag[0].start_mark.index, tag[1].end_mark.index, f"digest: {digest}")
            yield _Edit(splice, (*place.path, "digest"), digest, (*place.path, "newTag"))
        else:
            yield self._added(place, keys.get("newName") or keys["name"], digest)

    def _scalar(self, place: _Place, value: str) -> _Splice:
        node = place.node
        if not isinstance(node, yaml.ScalarNode):
            raise SpecError(self._refusal(node, "not a single value"))
        if place.shared or self.text[node.start_mark.index] in "&*!":
            raise SpecError(self._refusal(node, "an anchor, alias or tag"))
        if node.style in ("|", ">"):
            raise SpecError(self._refusal(node, "a block scalar"))
        if node.start_mark.line != node.end_mark.line:
            raise SpecError(self._refusal(node, "a value over several lines"))
        quote = node.style or ""
        return _Splice(node.start_mark.index, node.end_mark.index, f"{quote}{value}{quote}")

    def _refusal(self, node: Any, what: str) -> str:
        mark = node.start_mark
        return (
            f"{self.name}:{mark.line + 1}:{mark.column + 1}: {what} cannot be edited without changing more than"
            " the image; write the value out in place"
        )

    def _without(self, place: _Place, key: Any, value: Any) -> _Edit:
        """Drops a whole `key: value` line of a block mapping; a comment behind it stays."""
        start = self.text.rfind("\n", 0, key.start_mark.index) + 1
        end = self.text.find("\n", value.end_mark.index)
        end = len(self.text) if end < 0 else end + 1
        before, after = self.text[start : key.start_mark.index], self.text[value.end_mark.index : end].strip()
        if place.node.flow_style or before.strip() or (after and not after.startswith("#")):
            raise SpecError(self._refusal(key, "newTag beside digest"))
        kept = f"{before}{after}\n" if after else ""
        return _Edit(_Splice(start, end, kept), dropped=(*place.path, "newTag"))

    def _added(self, place: _Place, after: tuple[Any, Any], digest: str) -> _Edit:
        key, value = after
        if place.node.flow_style:
            spot, text = value.end_mark.index, f", digest: {digest}"
        else:
            spot = self.text.find("\n", value.end_mark.index)
            spot = len(self.text) if spot < 0 else spot
            spot -= self.text[:spot].endswith("\r")
            newline = "\r\n" if self.text[spot : spot + 1] == "\r" else "\n"
            text = f"{newline}{' ' * key.start_mark.column}digest: {digest}"
        return _Edit(_Splice(spot, spot, text), (*place.path, "digest"), digest)

    def edited(self, edits: Iterable[_Edit | None]) -> bytes | None:
        """The file with the edits made, or `None` when there are none; proven to change nothing else."""
        wanted = [edit for edit in edits if edit is not None]
        if not wanted:
            return None
        text = self.text
        for edit in sorted(wanted, key=lambda edit: edit.splice.start, reverse=True):
            text = text[: edit.splice.start] + edit.splice.text + text[edit.splice.end :]
        self._prove(text, wanted)
        return self._mark + text.encode()

    def _prove(self, text: str, edits: Sequence[_Edit]) -> None:
        expected = [document.data for document in read(self.text.encode(), self.name)]
        for edit in edits:
            _apply(expected, edit)
        if [document.data for document in read(text.encode(), self.name)] != expected:
            raise SpecError(
                f"{self.name}: editing the image would change other values too; write it more plainly"
            )


def _walk(
    node: Any, path: Path, around: tuple[Any, ...], seen: dict[int, int]
) -> Iterator[tuple[Path, Any, tuple[Any, ...]]]:
    """Every node below, depth first; one that an alias reaches again is reported again but not entered
    twice.
    """
    seen[id(node)] = seen.get(id(node), 0) + 1
    yield path, node, around
    if seen[id(node)] > 2:
        return
    inside = (*around, node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*path, str(key.value)), inside, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index), inside, seen)


def _scalars(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(value, yaml.ScalarNode):
                yield str(key.value), value


def _is_empty(node: yaml.Node) -> bool:
    """A document without content, which `read` does not count either."""
    return node.tag == f"{TAG}null" and not node.value


def _apply(documents: list[Any], edit: _Edit) -> None:
    if edit.dropped:
        *way, last = edit.dropped
        del _at(documents, way)[last]
    if edit.path:
        *way, last = edit.path
        _at(documents, way)[last] = edit.value


def _at(data: Any, way: Sequence[str | int]) -> Any:
    for step in way:
        data = data[step]
    return data


def _nowhere(files: Mapping[str, bytes], image: Image, render: str, values: str | None) -> str:
    if render == "kustomize":
        name = _kustomization(files)
        return f"{name}: images has no entry for {image.name}; add: images: [{{name: {image.name}}}]"
    if render == "helm":
        return f"no values file has {values}, where {image.name} should go; add it, or correct config.images"
    return (
        f"no container in the stage's folder has the image {image.name} ({len(files)} files looked at); add a"
        f" container with image: {image.name}"
    )
