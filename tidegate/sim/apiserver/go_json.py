"""What Go's `encoding/json` says about a text that is no JSON; clients show these words to people."""

from __future__ import annotations

import json
from typing import Final

_WHERE: Final = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting value": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}
END: Final = "unexpected end of JSON input"


def words(error: Exception) -> str:
    """Go's sentence for what Python's parser said."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.pos >= len(error.doc) or error.msg.startswith("Unterminated string"):
        return END
    return f"invalid character {_quoted(error.doc[error.pos])} {_WHERE.get(error.msg, _WHERE['Expecting value'])}"


def _quoted(letter: str) -> str:
    return f"'{letter}'" if letter.isprintable() else f"'\\u{ord(letter):04x}'"
