"""PromQL through its syntax tree: matchers go into every selector, never by pasting text.

`promql-parser` reads the tree and we print it. Its own rewriting cannot be used (0.11): `walk` and
`transform` hand out copies, so changes vanish in silence; its printer does not escape label values and
turns `[5m:]` into `[5m]` and `offset 500ms` into `offset 0s`. What we print is parsed again and compared
with the tree it came from: a query that cannot be printed faithfully is refused, never changed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

import promql_parser as promql

Node = Any
"""A node of the parser's tree; its classes share no useful type."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_BEFORE_1970 = re.compile(r"@\s*-")


class QueryError(ValueError):
    """A query that is no PromQL, or that we cannot print faithfully; the message says which and where."""


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """One label matcher: `Match("track", "=", "canary")`."""

    label: str
    op: str
    value: str

    def __str__(self) -> str:
        return f"{_label(self.label)}{self.op}{_string(self.value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """What a query selects in one place, without range, `offset` and `@`."""

    metric: str | None
    matches: tuple[Match, ...]

    def __str__(self) -> str:
        inside = ",".join(str(match) for match in self.matches)
        return f"{self.metric or ''}{{{inside}}}" if inside or not self.metric else self.metric

    def names(self, label: str) -> bool:
        """Is there a matcher on this label?"""
        return any(match.label == label for match in self.matches)


def parse(query: str) -> Node:
    """The syntax tree of a query; `QueryError` with the parser's words."""
    if _BEFORE_1970.search(query):
        raise QueryError("`@` with a time before 1970")  # the parser's reader of that time panics
    try:
        return promql.parse(query)
    except ValueError as error:
        hint = "; write strings in double quotes, not in backticks" if "`" in query else ""
        raise QueryError(f"{error}{hint}") from error


def with_matchers(query: str, extra: Iterable[Match] = ()) -> str:
    """The query with these matchers in every selector; `QueryError` when it is no PromQL."""
    return _rewritten(query, tuple(extra))[0]


def selectors(query: str, extra: Iterable[Match] = ()) -> tuple[Selector, ...]:
    """Every selector of the query with these matchers, in the order they are written, once each."""
    return tuple(dict.fromkeys(_rewritten(query, tuple(extra))[1]))


@lru_cache(maxsize=1024)
def _rewritten(query: str, extra: tuple[Match, ...]) -> tuple[str, tuple[Selector, ...]]:
    tree = parse(query)
    plain = _Printer()
    text = plain.text(tree)
    if repr(parse(text)) != repr(tree):
        raise QueryError(f"cannot be rewritten faithfully, it would become {text}; write it more plainly")
    printer, reread = _Printer(extra), _Printer()
    text = printer.text(tree)
    expected = [Selector(s.metric, _joined(s.matches, extra)) for s in plain.found]
    if reread.text(parse(text)) != text or reread.found != expected:
        raise QueryError(f"does not take the matchers {', '.join(map(str, extra))}; write it more plainly")
    return text, tuple(reread.found)


def _joined(own: tuple[Match, ...], extra: tuple[Match, ...]) -> tuple[Match, ...]:
    return (*own, *(match for match in extra if match not in own))


@dataclass(slots=True)
class _Printer:
    """Prints a tree, one method per kind of node, and remembers the selectors it met."""

    extra: tuple[Match, ...] = ()
    found: list[Selector] = field(default_factory=list)

    def text(self, node: Node) -> str:
        printer = getattr(self, f"_{type(node).__name__}", None)
        if printer is None:
            raise QueryError(f"cannot be rewritten: unknown part {type(node).__name__}")
        return str(printer(node))

    def _selector(self, node: promql.VectorSelector) -> str:
        if node.matchers.or_matchers:
            raise QueryError("`or` between label matchers is not PromQL as Prometheus knows it")
        own = tuple(Match(m.name, _sign(m.op), m.value) for m in node.matchers.matchers)
        self.found.append(Selector(node.name, _joined(own, self.extra)))
        return str(self.found[-1])

    def _VectorSelector(self, node: promql.VectorSelector) -> str:
        return self._selector(node) + _when(node)

    def _MatrixSelector(self, node: promql.MatrixSelector) -> str:
        inner = node.vector_selector
        return f"{self._selector(inner)}[{_duration(node.range)}]{_when(inner)}"

    def _SubqueryExpr(self, node: promql.SubqueryExpr) -> str:
        if node.range is None:
            raise QueryError("subquery without a range")
        step = "" if node.step is None else _duration(node.step)
        return f"{self.text(node.expr)}[{_duration(node.range)}:{step}]{_when(node)}"

    def _AggregateExpr(self, node: promql.AggregateExpr) -> str:
        grouping = ""
        if node.modifier is not None:
            word = "by" if node.modifier.type == promql.AggModifierType.By else "without"
            grouping = f" {word} {_labels(node.modifier.labels)} "
        return f"{node.op}{grouping}({self._list([node.param, node.expr])})"

    def _BinaryExpr(self, node: promql.BinaryExpr) -> str:
        left, right = self.text(node.lhs), self.text(node.rhs)
        return " ".join([left, str(node.op).strip(), *_matching(node.modifier), right])

    def _UnaryExpr(self, node: promql.UnaryExpr) -> str:
        return f"-{self.text(node.expr)}"

    def _ParenExpr(self, node: promql.ParenExpr) -> str:
        return f"({self.text(node.expr)})"

    def _Call(self, node: promql.Call) -> str:
        return f"{node.func.name}({self._list(node.args)})"

    def _NumberLiteral(self, node: promql.NumberLiteral) -> str:
        if math.isfinite(node.val):
            return repr(node.val).removesuffix(".0")
        return "NaN" if math.isnan(node.val) else "Inf" if node.val > 0 else "-Inf"

    def _StringLiteral(self, node: promql.StringLiteral) -> str:
        return _string(node.val)

    def _list(self, nodes: Iterable[Node]) -> str:
        return ", ".join(self.text(node) for node in nodes if node is not None)


def _string(value: str) -> str:
    """A string literal; of JSON's escapes only those are used that Go has too."""
    return json.dumps(value, ensure_ascii=False)


def _duration(value: timedelta) -> str:
    """Milliseconds when needed, else seconds: exact, unlike days or weeks."""
    milliseconds = round(value / timedelta(milliseconds=1))
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _labels(names: Sequence[str]) -> str:
    return f"({', '.join(_label(name) for name in names)})"


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else _string(name)


def _sign(op: promql.MatchOp) -> str:
    signs = (
        (promql.MatchOp.Equal, "="),
        (promql.MatchOp.NotEqual, "!="),
        (promql.MatchOp.Re, "=~"),
        (promql.MatchOp.NotRe, "!~"),
    )
    return next(text for known, text in signs if known == op)


def _when(node: Node) -> str:
    """`@` and `offset` of a selector or subquery."""
    text = ""
    if node.at is not None:
        match str(node.at.type).rpartition(".")[2]:
            case "Start":
                text += " @ start()"
            case "End":
                text += " @ end()"
            case _:
                text += f" @ {node.at.at.timestamp():.3f}"
    if node.offset is not None:
        sign, size = ("-", -node.offset) if node.offset < timedelta(0) else ("", node.offset)
        text += f" offset {sign}{_duration(size)}"
    return text


def _matching(modifier: promql.BinModifier | None) -> list[str]:
    """`bool`, `on`, `ignoring`, `group_left`, `group_right` of a binary operator."""
    if modifier is None:
        return []
    words = ["bool"] if modifier.return_bool else []
    if modifier.matching is not None:
        include = modifier.matching.type == promql.LabelModifierType.Include
        words.append(f"{'on' if include else 'ignoring'} {_labels(modifier.matching.labels)}")
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        words.append(f"group_left {_labels(modifier.group_labels or [])}")
    if modifier.card == promql.VectorMatchCardinality.OneToMany:
        words.append(f"group_right {_labels(modifier.group_labels or [])}")
    return words
