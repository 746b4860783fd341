"""JSON data out of libyaml nodes."""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

import yaml

from tidegate.yaml_reader.limits import Limits, fail
from tidegate.yaml_reader.scalars import INT64, SCALARS, STR, TAG, WRITTEN, key_text, to_float, to_int

MAY_ALIAS = re.compile(rb"(?:\A|[\s\[{,:?-])\*[\w-]")
"""Finds every alias, and some that are not."""


class Builder:
    """Data out of nodes. What an alias names is built anew, so no two parts share data."""

    def __init__(self, source: str, limits: Limits, *, aliases: bool, last_wins: bool = False) -> None:
        self.source, self.limits, self.aliases, self.last_wins = source, limits, aliases, last_wins
        self.budget = limits.alias_nodes
        self.open: list[yaml.Node] = []
        self.seen: set[yaml.Node] = set()

    def build(self, root: yaml.Node) -> Any:
        """JSON data of one document."""
        self.open, self.seen = [], set()
        return self._value(root)

    def _value(self, node: yaml.Node) -> Any:
        if self.aliases:
            return self._counted(node)
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == STR else self._scalar(node)
        return self._list(node) if isinstance(node, yaml.SequenceNode) else self._map(node)

    def _counted(self, node: yaml.Node) -> Any:
        """The value in a file that may have aliases: repeats are paid for, circles and towers refused."""
        self._pay(node)
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == STR else self._scalar(node)
        if node in self.open:
            self._fail(node, "an alias names the part it stands in", "a value cannot contain itself")
        if len(self.open) >= self.limits.depth:
            self._fail(node, f"aliases nest more than {self.limits.depth} levels deep", "flatten it")
        self.open.append(node)
        data = self._list(node) if isinstance(node, yaml.SequenceNode) else self._map(node)
        self.open.pop()
        return data

    def _pay(self, node: yaml.Node) -> None:
        if node not in self.seen:
            self.seen.add(node)
            return
        self.budget -= 1 + (len(node.value) // 50 if isinstance(node, yaml.ScalarNode) else 0)
        if self.budget < 0:
            what = f"aliases repeat more than {self.limits.alias_nodes:,} keys and values"
            self._fail(node, what, "repeat less, or split the file")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        convert = SCALARS.get(node.tag)
        if convert is None:
            self._fail_tag(node)
        written = WRITTEN.get(node.tag)
        if written is not None and not written.fullmatch(node.value):
            self._fail(
                node,
                f"{node.value!r:.60} is not of type {node.tag.removeprefix(TAG)}",
                "correct it or drop the tag",
            )
        if len(node.value) > 400 and convert in (to_int, to_float):
            self._fail(node, "a number of more than 400 digits", "put it in quotes, it is then text")
        value = convert(node.value)
        if (isinstance(value, int) and not -INT64 <= value < INT64) or (
            isinstance(value, float) and math.isinf(value)
        ):
            self._fail(node, f"{node.value:.60} does not fit in 64 bits", "put it in quotes, it is then text")
        return value

    def _list(self, node: yaml.SequenceNode) -> list[Any]:
        if node.tag != f"{TAG}seq":
            self._fail_tag(node)
        return [self._value(item) for item in node.value]

    def _map(self, node: yaml.Node) -> dict[str, Any]:
        if node.tag != f"{TAG}map":
            self._fail_tag(node)
        data: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        for key, item in node.value:
            if key.tag == f"{TAG}merge":
                merged += self._merged(item)
                continue
            name = self._key(key)
            if name in data and not self.last_wins:
                self._fail_twice(node, key, name)
            data[name] = self._value(item)
        for base in merged:
            for name, inherited in base.items():
                data.setdefault(name, inherited)
        return data

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._fail(node, "a list or map used as a key", "keys are text; is a quote or a ':' missing?")
        if self.aliases:
            self._pay(node)
        if node.tag == STR:
            return str(node.value)
        self._scalar(node)
        name = key_text(node)
        if name is None:
            self._fail(node, "a key without a name (null)", "give it a name, or put it in quotes")
        return name

    def _merged(self, node: yaml.Node) -> list[dict[str, Any]]:
        """What `<<: *base` or `<<: [*one, *two]` adds; explicit keys win, then the earlier map."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                self._fail(part, "'<<' merges something that is not a map", "name a map, like <<: *base")
        return [self._value(part) for part in parts]

    def _fail_twice(self, node: yaml.Node, key: yaml.Node, name: str) -> NoReturn:
        first = next(k for k, _ in node.value if isinstance(k, yaml.ScalarNode) and key_text(k) == name)
        where = f"line {first.start_mark.line + 1}"
        self._fail(key, f"the key {name!r:.60} is written twice, first in {where}", "keep one of them")

    def _fail_tag(self, node: yaml.Node) -> NoReturn:
        if node.tag == f"{TAG}inf":
            self._fail(
                node, f"{node.value} is not a JSON number", "put it in quotes, or write a finite number"
            )
        tag = str(node.tag).replace(TAG, "!!")
        self._fail(node, f"the tag {tag!r:.60} is not supported", "remove the tag; data is plain JSON here")

    def _fail(self, node: yaml.Node, message: str, hint: str) -> NoReturn:
        fail(self.source, node.start_mark, message, hint)
