"""Judge: ask the metrics about the running canary and let the gate answer. Recomputed whole at every look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tidegate.domain import gate as rules
from tidegate.domain.gate import Verdict
from tidegate.domain.rollout import Canary
from tidegate.operations.desk import Desk
from tidegate.spec import Gate


def judge_trial(desk: Desk, trial: Canary, now: datetime) -> Verdict | None:
    """The verdict on a first release, by the threshold checks alone; None without any."""
    gate = rules.without_control(desk.stage.gate) if desk.stage.gate else None
    return judge(desk, gate, trial, now) if gate else None


def judge(
    desk: Desk, gate: Gate, canary: Canary, now: datetime, pods: Mapping[str, int] | None = None
) -> Verdict:
    """The gate's verdict on a canary at `now`; unreachable metrics are gaps in it, never an exception.

    pods: how many of which Deployment Prometheus has to know; fewer make the interval a gap. None: not asked.
    """
    started, at = canary.started.timestamp(), now.timestamp()
    selector = {gate.namespace_label: desk.target.namespace} if gate.namespace_label else {}
    samples = desk.metrics.collect(
        gate,
        started=started,
        now=at,
        selector=selector,
        canary_targets=sum(pods.values()) if pods is not None else None,
        workloads=tuple(pods or ()),
        known=desk.samples.get(canary.commit, {}),
    )
    desk.samples[canary.commit] = samples
    queries = desk.metrics.queries(gate, selector=selector)
    return rules.evaluate(gate, samples, started=started, now=at, queries=queries)
