"""A recorded verdict, judged anew from its samples: what the ledger holds is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidegate.domain.gate.evaluation import evaluate
from tidegate.domain.gate.evidence import from_data
from tidegate.domain.gate.ratio import judge
from tidegate.domain.gate.verdict import Verdict
from tidegate.spec import Gate, Ratio


def recompute(data: Mapping[str, Any]) -> Verdict:
    """The verdict judged again from the recorded samples and parameters alone.

    Equal to the recorded one, byte for byte as JSON, if nobody touched the record and the rules are the same.
    The version of the code that judged first is carried over. `ValueError` for a record of unknown rules.
    """
    recorded = from_data(data)
    parameters = recorded.parameters
    match parameters.get("rule"):
        case "gate":
            return _gate_again(recorded, data["parameters"])
        case "ratio":
            check = Ratio.model_validate(parameters["check"])
            arms = [(s.canary, s.control) for s in recorded.samples]
            canary, control = [a for a, _ in arms if a is not None], [b for _, b in arms if b is not None]
            return judge(check, canary, control, dispersion=data["parameters"]["dispersion"])
        case rule:
            raise ValueError(f"no rule called {rule!r}; a record holds a whole gate or one ratio test")


def _gate_again(recorded: Verdict, parameters: Mapping[str, Any]) -> Verdict:
    again = evaluate(
        Gate.model_validate(parameters["gate"]),
        {part.check: part.samples for part in recorded.parts},
        started=parameters["started"],
        now=parameters["now"],
        dispersion=parameters["dispersion"],
        queries={part.check: list(part.parameters["queries"]) for part in recorded.parts},  # type: ignore[call-overload]
    )
    return replace(again, parameters={**again.parameters, "code": parameters["code"]})
