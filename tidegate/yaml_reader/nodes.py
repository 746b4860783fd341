"""libyaml's parser, stopped by our limits from within, its complaints in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tidegate.errors import Problem, SpecError
from tidegate.yaml_reader.limits import LIMITS, Limits, fail, fail_at
from tidegate.yaml_reader.scalars import PLAIN, TAG, key_text
from tidegate.yaml_reader.text import place
from tidegate.yaml_reader.words import translated


class Loader(yaml.CSafeLoader):
    """libyaml's parser, stopped by our limits from within.

    The C code recurses per level and calls `descend_resolver` before each, so an error raised there ends
    the parse long before its stack does, exactly and in every style (`[[[`, `- - -`, indentation, mixed).
    """

    def __init__(self, text: bytes, source: str, limits: Limits) -> None:
        super().__init__(text)
        self.source, self.limits = source, limits
        self.depth, self.total, self.left = 0, limits.nodes, limits.document_nodes

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        self.depth += 1
        self.left -= 1
        if self.depth > self.limits.depth and parent is not None:
            fail(
                self.source,
                parent.start_mark,
                f"nested more than {self.limits.depth} levels deep",
                "flatten it, no manifest needs that",
            )
        if self.left < 0:
            self._too_many(parent)

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def next_document(self) -> None:
        """Give the next document its own budget out of the file's."""
        self.total -= min(self.limits.document_nodes, self.total) - self.left
        self.left = min(self.limits.document_nodes, self.total)

    def _too_many(self, parent: yaml.Node | None) -> None:
        where, limit = "document", self.limits.document_nodes
        if self.total < limit:
            where, limit = "file", self.limits.nodes
        line = parent.start_mark.line + 1 if parent is not None else 1
        fail_at(self.source, line, 1, f"more than {limit:,} keys and values in one {where}", "split the file")


Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in PLAIN:
    Loader.add_implicit_resolver(TAG + _name, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def nodes(body: bytes, source: str, limits: Limits) -> Iterator[yaml.Node]:
    """The documents as libyaml nodes, one in memory at a time; library errors become sentences."""
    try:
        loader = Loader(body, source, limits)
        try:
            while loader.check_node():
                if (node := loader.get_node()) is not None:
                    yield node
                loader.next_document()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line, column = place(body, error.position)
        code = error.character if isinstance(error.character, int) else ord(error.character)
        what = f"the control character U+{code:04X}"
        raise SpecError(
            problems=(Problem(source, line, column, what, "remove it, or write it as \\u…"),)
        ) from error
    except yaml.MarkedYAMLError as error:
        raise SpecError(problems=(translated(error, body, source),)) from error
    except yaml.YAMLError as error:
        raise SpecError(
            problems=(Problem(source, 1, 1, f"not YAML: {error}", "check the syntax"),)
        ) from error


def compose(body: bytes, source: str, index: int) -> yaml.Node:
    """Node of one document of a text that has been read before."""
    for number, node in enumerate(nodes(body, source, LIMITS)):
        if number == index:
            return node
    raise IndexError(index)


def child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that names a part (its key; an item names itself) and the part's own node."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part], node.value[part]
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key_text(key) == part:
            return key, value
    return None
