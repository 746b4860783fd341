"""What libyaml says, in plain words."""

from __future__ import annotations

import yaml

from tidegate.errors import Problem

_WORDS = (
    # (part of libyaml's problem or context, what happened, what helps)
    ("found undefined alias", "an alias names an anchor that is not there", "define it above with &name"),
    (
        "mapping values are not allowed",
        "a ':' where no key can start",
        "put the text in quotes, or check the indentation",
    ),
    (
        "could not find expected ':'",
        "a key without ':'",
        "add ': value', or check the indentation and the quotes",
    ),
    ("found unexpected end of stream", "a quote is never closed", "close it"),
    ("found unknown escape character", "an unknown escape after \\", "use single quotes, or write \\\\"),
    ("found undefined tag handle", "an unknown tag", "remove the tag; data is plain JSON here"),
    ("did not find expected ',' or ']'", "a '[' is never closed", "close it, or put ',' between the items"),
    ("did not find expected ',' or '}'", "a '{' is never closed", "close it, or put ',' between the entries"),
    (
        "did not find expected '-' indicator",
        "this is not part of the list above it",
        "indent it like the list's other lines",
    ),
    (
        "did not find expected key",
        "this is not part of the map above it",
        "indent it like the map's other keys",
    ),
    (
        "block sequence entries are not allowed",
        "a '-' where no list can start",
        "start the list on a line of its own",
    ),
    ("did not find expected alphabetic or numeric", "a '*' or '&' without a name", "put the text in quotes"),
    ("found duplicate %", "a directive is written twice", "remove it"),
    (
        "while scanning a block scalar",
        "a block of text (| or >) is not indented rightly",
        "indent it with spaces only",
    ),
    (
        "while scanning a directive",
        "a directive (%) that is not one",
        "remove the line, or put the text in quotes",
    ),
    (
        "did not find expected <document start>",
        "the document goes on where it should have ended",
        "check the indentation, or add '---'",
    ),
)


_NEVER_CLOSED = ("found unexpected end of stream", "did not find expected ',' or")


def translated(error: yaml.MarkedYAMLError, body: bytes, source: str) -> Problem:
    """A complaint of libyaml as what happened and what helps, where a person would look first."""
    said = f"{error.context or ''} {error.problem or ''}"
    opened = error.context_mark if any(words in said for words in _NEVER_CLOSED) else None
    mark = opened or error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    text = body.split(b"\n", line)[line - 1].decode() if line <= body.count(b"\n") + 1 else ""
    blank = text[: len(text) - len(text.lstrip())]
    if "\t" in blank and "quoted scalar" not in said:
        return Problem(
            source, line, blank.index("\t") + 1, "a tab in the indentation", "YAML indents with spaces"
        )
    if "cannot start any token" in said:
        what = f"text cannot start with {text[column - 1 : column]!r}"
        return Problem(source, line, column, what, "put it in quotes")
    for words, what, hint in _WORDS:
        if words in said:
            return Problem(source, line, column, what, hint)
    return Problem(
        source, line, column, f"not YAML: {error.problem or error.context}", "check the syntax there"
    )
