"""The phase and conditions of a pod, from what its containers do."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.sim.node.status import ContainerState, pod_status, terminated, waiting

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def pod(policy: str = "Always", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "d"},
        "spec": {"restartPolicy": policy, "containers": [], **spec},
    }


def state(now: dict[str, Any], *, ready: bool = False, last: dict[str, Any] | None = None) -> ContainerState:
    return ContainerState("app", state=now, ready=ready, last=last or {})


def told(pod: dict[str, Any], *states: ContainerState, initialized: bool = True) -> dict[str, Any]:
    return pod_status(pod, [], states, ip="127.0.0.5", initialized=initialized, start_time="t")


CRASHED = terminated(1, "", "id")
LOOPING = {"now": waiting("CrashLoopBackOff"), "last": CRASHED}


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [
        ("Always", [state(waiting("ContainerCreating"))], "Pending"),
        ("Always", [state(waiting("ImagePullBackOff"))], "Pending"),
        ("Always", [state(RUNNING)], "Running"),
        ("Always", [state(**LOOPING)], "Running"),
        ("Always", [state(terminated(0, "", "id"))], "Running"),
        ("Never", [state(terminated(0, "", "id"))], "Succeeded"),
        ("Never", [state(CRASHED)], "Failed"),
        ("OnFailure", [state(CRASHED)], "Running"),
        ("OnFailure", [state(terminated(0, "", "id"))], "Succeeded"),
        ("Never", [state(CRASHED), state(RUNNING)], "Running"),
    ],
)
def test_phases_follow_kubelet(policy: str, states: list[ContainerState], phase: str) -> None:
    assert told(pod(policy), *states)["phase"] == phase


def test_a_pod_is_ready_when_every_container_is_and_says_which_is_not() -> None:
    status = told(pod(), state(RUNNING, ready=True))
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    status = told(pod(), state(RUNNING))
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    assert ready["message"] == "containers with unready status: [app]"


def test_transition_times_move_only_with_the_status_and_foreign_conditions_stay() -> None:
    known = pod()
    known["status"] = {
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "example.com/gate", "status": "True"},
        ]
    }
    found = {c["type"]: c for c in told(known, state(RUNNING, ready=True))["conditions"]}
    assert found["Ready"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert found["example.com/gate"]["status"] == "True"


def test_a_closed_readiness_gate_keeps_the_pod_out() -> None:
    gated = pod(readinessGates=[{"conditionType": "example.com/gate"}])
    found = {c["type"]: c["status"] for c in told(gated, state(RUNNING, ready=True))["conditions"]}
    assert (found["ContainersReady"], found["Ready"]) == ("True", "False")
