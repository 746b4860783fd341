"""A verdict as plain data, and back: what the ledger holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tidegate.domain.gate.verdict import Outcome, Sample, Verdict


def to_data(verdict: Verdict) -> dict[str, Any]:
    """The verdict as dicts, lists, strings and finite numbers (`json.dumps(…, allow_nan=False)` takes it)."""
    return {
        "outcome": verdict.outcome.value,
        "message": verdict.message,
        "check": verdict.check,
        "log_e_fail": _number(verdict.log_e_fail),
        "log_e_pass": _number(verdict.log_e_pass),
        "ratio": _number(verdict.ratio),
        "interval": _numbers(verdict.interval),
        "phi": _number(verdict.phi),
        "samples": [
            {"at": s.at, "canary": _numbers(s.canary), "control": _numbers(s.control), "gap": s.gap}
            for s in verdict.samples
        ],
        "parameters": json.loads(json.dumps(verdict.parameters)),
        "parts": [to_data(part) for part in verdict.parts],
    }


def from_data(data: Mapping[str, Any]) -> Verdict:
    """The verdict that `to_data` wrote; `KeyError`, `TypeError` or `ValueError` when it is not one."""
    return Verdict(
        outcome=Outcome(data["outcome"]),
        message=str(data["message"]),
        log_e_fail=_maybe(data["log_e_fail"]),
        log_e_pass=_maybe(data["log_e_pass"]),
        ratio=_maybe(data["ratio"]),
        interval=_pair(data["interval"]),
        phi=float(data["phi"]),
        samples=tuple(
            Sample(float(s["at"]), _pair(s["canary"]), _pair(s["control"]), s["gap"]) for s in data["samples"]
        ),
        check=str(data["check"]),
        parameters=dict(data["parameters"]),
        parts=tuple(from_data(part) for part in data["parts"]),
    )


def _number(value: float | None) -> float | str | None:
    """JSON has no infinity and no NaN: they go as text, which `float` reads back."""
    return value if value is None or math.isfinite(value) else str(value)


def _numbers(pair: tuple[float, float] | None) -> list[float | str | None] | None:
    return None if pair is None else [_number(value) for value in pair]


def _maybe(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _pair(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    first, second = values
    return float(first), float(second)
