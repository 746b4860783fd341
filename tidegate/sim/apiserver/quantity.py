"""Kubernetes quantities in canonical form: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_TEXT: Final = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?$")


def canonical(value: str | int | float) -> str | None:
    """The text a real server would answer with; None when it is no quantity (apimachinery `resource.Quantity`)."""
    match = _TEXT.match(str(value).strip())
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY[1:]:
        return _binary(number * Decimal(1024) ** _BINARY.index(suffix))
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return _exponent(number * Decimal(10) ** int(suffix[1:]))
    return _decimal(number * Decimal(10) ** _DECIMAL[suffix])


def amount(value: str | int | float) -> Decimal | None:
    """The number itself, to compare; None when it is no quantity."""
    match = _TEXT.match(str(value).strip())
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY[1:]:
        return Decimal(number * Decimal(1024) ** _BINARY.index(suffix))
    return number.scaleb(int(suffix[1:]) if suffix not in _DECIMAL else _DECIMAL[suffix])


def _binary(number: Decimal) -> str:
    if abs(number) < 1024:
        return _decimal(number)
    whole = int(number.to_integral_value(ROUND_CEILING))
    step = 0
    while whole % 1024 == 0 and step < len(_BINARY) - 1:
        whole //= 1024
        step += 1
    return f"{whole}{_BINARY[step]}"


def _decimal(number: Decimal) -> str:
    whole, exponent = _mantissa(number)
    suffix = next(s for s, e in _DECIMAL.items() if e == exponent)
    return f"{whole}{suffix}"


def _exponent(number: Decimal) -> str:
    whole, exponent = _mantissa(number)
    return f"{whole}e{exponent}" if exponent else str(whole)


def _mantissa(number: Decimal) -> tuple[int, int]:
    """A whole number and the largest exponent of a suffix that keeps it whole; below nano is rounded up."""
    if not number:
        return 0, 0
    whole, exponent = int((number * 10**9).to_integral_value(ROUND_CEILING)), -9
    while whole % 1000 == 0 and exponent < 18:
        whole //= 1000
        exponent += 3
    return whole, exponent
