"""How much one YAML file may ask of us, and the one way to refuse it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import yaml

from tidegate.errors import Problem, SpecError


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one file may ask of us. The defaults hold any real manifest set, and no bomb."""

    size: int = 10 * 2**20
    """Bytes; Argo CD's default for a manifest set."""
    depth: int = 100
    documents: int = 10_000
    nodes: int = 1_500_000
    """Keys, values, lists and maps in the whole file."""
    document_nodes: int = 150_000
    """The same in one document; bounds the memory of the parse, about 0.7 kB a node."""
    alias_nodes: int = 50_000
    """Nodes that aliases (`*name`) may add per file by repeating what they name."""


LIMITS = Limits()


def fail(source: str, mark: yaml.Mark, message: str, hint: str) -> NoReturn:
    """Refuse what stands at a mark of libyaml."""
    fail_at(source, mark.line + 1, mark.column + 1, message, hint)


def fail_at(source: str, line: int, column: int, message: str, hint: str) -> NoReturn:
    """Refuse what stands at a line and column, from 1."""
    raise SpecError(problems=(Problem(source, line, column, message, hint),))


def too_large(source: str, size: int, limits: Limits) -> SpecError:
    """The refusal of a file of `size` bytes."""
    what = f"the file has {size / 2**20:.1f} MiB, the limit is {limits.size / 2**20:g} MiB"
    return SpecError(problems=(Problem(source, 1, 1, what, "split it"),))
