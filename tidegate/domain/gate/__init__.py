"""Does the evidence allow the next step? Verdicts carry their numbers and can be recomputed from a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.domain.gate.verdict import Outcome, Sample, Verdict
from tidegate.spec import Ratio, Threshold

if TYPE_CHECKING:
    from tidegate.domain.gate.evaluation import evaluate, without_control
    from tidegate.domain.gate.evidence import from_data, to_data
    from tidegate.domain.gate.recomputation import recompute

__all__ = [
    "Outcome",
    "Ratio",
    "Sample",
    "Threshold",
    "Verdict",
    "evaluate",
    "from_data",
    "recompute",
    "to_data",
    "without_control",
]

_HOME = {
    "evaluate": "evaluation",
    "without_control": "evaluation",
    "from_data": "evidence",
    "recompute": "recomputation",
    "to_data": "evidence",
}


def __getattr__(name: str) -> Any:
    """The judging functions, imported at first use: numpy would slow commands that only read outcomes."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
