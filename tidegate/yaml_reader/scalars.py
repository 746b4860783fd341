"""Which plain text is a number, a bool, null: goyaml v2 `resolve.go` without its base 60 and time stamps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"
STR = f"{TAG}str"
INT64 = 2**63

PLAIN = (
    # (tag, pattern, first characters); the order decides, every pattern is linear in the length of the text
    ("bool", r"y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON", "yYtToO"),
    ("bool", r"n|N|no|No|NO|false|False|FALSE|off|Off|OFF", "nNfFoO"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    ("inf", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("int", r"[-+]?_*0_*[xX]_*[0-9a-fA-F][0-9a-fA-F_]*", "-+0"),
    ("int", r"[-+]?_*0_*[oO]_*[0-7][0-7_]*", "-+0"),
    ("int", r"[-+]?_*0_*[bB]_*[01][01_]*", "-+0"),
    ("int", r"[-+]?_*(?:0[0-7_]*|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?_*(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\._*[0-9][0-9_]*)(?:[eE]_*(?:[-+]_*)?[0-9][0-9_]*)?",
        "-+0123456789",
    ),
    ("float", r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?", "."),
)
"""kubectl's plain scalars."""


def to_int(text: str) -> int:
    """goyaml reads `strconv.ParseInt(text without "_", base 0)`: 0x, 0o, 0b, and a leading 0 is octal too."""
    digits = text.replace("_", "")
    sign, digits = (-1 if digits[0] == "-" else 1), digits.lstrip("+-")
    if digits[:2].lower() in ("0x", "0o", "0b"):
        return sign * int(digits, 0)
    return sign * int(digits, 8 if digits[0] == "0" and len(digits) > 1 else 10)


def to_float(text: str) -> float | int:
    """Whole numbers become int, as Go's JSON writes them: `1e3` and `1000.0` are `1000`."""
    number = float(text.replace("_", ""))
    return int(number) if number.is_integer() and abs(number) < INT64 else number


def to_bool(text: str) -> bool:
    """True for every way of writing yes."""
    return text.lower() in ("y", "yes", "true", "on")


SCALARS: dict[str, Callable[[str], Any]] = {
    STR: str,
    f"{TAG}int": to_int,
    f"{TAG}float": to_float,
    f"{TAG}bool": to_bool,
    f"{TAG}null": lambda text: None,
    f"{TAG}merge": str,
}
"""What a scalar of each tag means; a tag that is not here is not JSON."""

WRITTEN = {
    TAG + name: re.compile("|".join(f"(?:{p})" for n, p, _ in PLAIN if n == name)) for name, _, _ in PLAIN
}
"""How a scalar with an explicit tag (`!!int`) must be written."""


def key_text(node: yaml.ScalarNode) -> str | None:
    """A key as kubectl sends it: JSON keys are text, so `on:` is "true" and `0644:` is "420"."""
    if node.tag == STR:
        return str(node.value)
    value = SCALARS[node.tag](node.value) if node.tag in SCALARS else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
