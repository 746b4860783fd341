"""Judge: ask the metrics about the running canary and let the gate answer. Recomputed whole at every look."""

from __future__ import annotations

from datetime import datetime

from tidegate.domain.gate import Verdict, evaluate
from tidegate.domain.rollout import Canary
from tidegate.operations.desk import Desk


def judge(desk: Desk, canary: Canary, targets: int, now: datetime) -> Verdict:
    """The gate's verdict on a canary at `now`; unreachable metrics are gaps in it, never an exception.

    targets: pods of the canary that Prometheus has to know; fewer make the interval a gap.
    """
    gate = desk.stage.gate
    if gate is None:
        raise ValueError(f"{desk.app} {desk.stage.name} has no gate")
    started, at = canary.started.timestamp(), now.timestamp()
    known = desk.samples.get(canary.commit, {})
    samples = desk.metrics.collect(gate, started=started, now=at, canary_targets=targets, known=known)
    desk.samples[canary.commit] = samples
    return evaluate(gate, samples, started=started, now=at, queries=desk.metrics.queries(gate))
