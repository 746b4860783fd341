"""Globs of paths: `*` stays in a folder, `**` crosses folders, the name of a folder means all in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def expression(glob: str) -> str:
    """The regular expression that a whole POSIX path, relative to the root, must match."""
    glob = glob.removeprefix("./")
    glob = f"{glob}**" if glob.endswith("/") else glob
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    body = "".join(_PARTS.get(piece, re.escape(piece)) for piece in pieces)
    return body if glob.endswith("**") else f"{body}(?:/.*)?"


def any_of(globs: Iterable[str]) -> re.Pattern[str]:
    """For `fullmatch`: a path that one of the globs names; no globs name nothing."""
    return re.compile("|".join(f"(?:{expression(glob)})" for glob in globs) or r"(?!)")
