"""The status of a pod as kubelet would write it: pure, from what its containers are doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate.sim.client import Object, timestamp

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
RESTARTABLE = "Always"


@dataclass(slots=True)
class ContainerState:
    """What one container is doing; kept on disk, so the next agent can go on from it."""

    name: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Object = field(default_factory=dict)
    restarts: int = 0
    identity: str = ""
    image: str = ""
    image_id: str = ""
    ready: bool = False
    started: bool = False
    interrupted: bool = False
    """Stopped because the agent stopped, not because of anything the container did."""

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """How it ended, when it is not running: now, or before it began to wait for its restart."""
        ended = (
            self.state.get("terminated") or ("waiting" in self.state and self.last.get("terminated")) or None
        )
        return None if ended is None else int(ended["exitCode"])


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def terminated(code: int, started: str, identity: str, message: str = "", reason: str = "") -> Object:
    told: Object = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}
    if code > 128 and code - 128 < 65 and not reason:
        told["signal"] = code - 128
    if message:
        told["message"] = message
    now = timestamp()
    return {
        "terminated": {
            **told,
            "startedAt": started or now,
            "finishedAt": now,
            "containerID": container_id(identity),
        }
    }


def container_id(identity: str) -> str:
    return f"tidegate://{identity}" if identity else ""


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """An init container that keeps running beside the others."""
    return container.get("restartPolicy") == RESTARTABLE


def restarts_after(policy: str, code: int) -> bool:
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def pod_phase(pod: Object, states: Sequence[ContainerState], initialized: bool) -> str:
    """Pending, Running, Succeeded or Failed (kubelet's getPhase)."""
    policy = pod["spec"].get("restartPolicy") or "Always"
    codes = [s.exit_code for s in states]
    if not initialized:
        return "Pending"
    if any(s.running for s in states):
        return "Running"
    if any(code is None for code in codes):
        return "Pending"
    ends = [code for code in codes if code is not None]
    if any(restarts_after(policy, code) for code in ends):
        return "Running"
    return "Failed" if any(ends) else "Succeeded"


def init_failed(pod: Object, states: Sequence[ContainerState]) -> bool:
    """Whether an init container failed for good."""
    policy = pod["spec"].get("restartPolicy") or "Always"
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or [] if is_sidecar(c)}
    return policy == "Never" and any(
        s.name not in sidecars and s.exit_code not in (None, 0) and not s.running for s in states
    )


def pod_status(
    pod: Object,
    init: Sequence[ContainerState],
    states: Sequence[ContainerState],
    *,
    ip: str,
    initialized: bool,
    start_time: str,
) -> Object:
    """The whole `status`; transition times are kept where a condition stays as it was."""
    phase = "Failed" if init_failed(pod, init) else pod_phase(pod, states, initialized)
    status: Object = {
        "phase": phase,
        "conditions": _conditions(pod, states, ip, initialized, phase),
        "containerStatuses": [container_status(s) for s in states],
        "startTime": start_time,
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "qosClass": qos(pod),
        "observedGeneration": pod["metadata"].get("generation") or 1,
    }
    if init:
        status["initContainerStatuses"] = [container_status(s) for s in init]
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return status


def container_status(state: ContainerState) -> Object:
    found = {
        "name": state.name,
        "state": state.state,
        "lastState": state.last,
        "ready": state.ready,
        "restartCount": state.restarts,
        "image": state.image,
        "imageID": state.image_id,
        "started": state.started,
    }
    if state.identity:
        found["containerID"] = container_id(state.identity)
    return found


def _conditions(
    pod: Object, states: Sequence[ContainerState], ip: str, initialized: bool, phase: str
) -> list[Object]:
    known = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    unready = [s.name for s in states if not s.ready]
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or []]
    closed = [g for g in gates if known.get(g, {}).get("status") != "True"]
    done = phase in ("Succeeded", "Failed")
    if unready:
        why = "PodCompleted" if done else "ContainersNotReady"
        containers = (False, why, f"containers with unready status: [{' '.join(unready)}]")
    else:
        containers = (True, "", "")
    ready = containers
    if containers[0] and closed:
        ready = (False, "ReadinessGatesNotReady", f"the status of pod readiness gates is not True: {closed}")
    wanted = {
        "PodReadyToStartContainers": (bool(ip), "", ""),
        "Initialized": (
            initialized,
            *(("", "") if initialized else ("ContainersNotInitialized", _incomplete(pod))),
        ),
        "Ready": ready,
        "ContainersReady": containers,
        "PodScheduled": (True, "", ""),
    }
    own = [_condition(known.get(kind), kind, *verdict) for kind, verdict in wanted.items()]
    return [*own, *(c for kind, c in known.items() if kind not in OWN_CONDITIONS)]


def _incomplete(pod: Object) -> str:
    names = " ".join(c["name"] for c in pod["spec"].get("initContainers") or [])
    return f"containers with incomplete status: [{names}]"


def _condition(known: Object | None, kind: str, met: bool, reason: str, message: str) -> Object:
    verdict = "True" if met else "False"
    since = known.get("lastTransitionTime") if known and known.get("status") == verdict else None
    found: Object = {
        "type": kind,
        "status": verdict,
        "lastProbeTime": None,
        "lastTransitionTime": since or timestamp(),
    }
    if reason:
        found |= {"reason": reason, "message": message}
    return found


def qos(pod: Object) -> str:
    """BestEffort, Burstable or Guaranteed, from requests and limits."""
    resources = [c.get("resources") or {} for c in pod["spec"].get("containers") or []]
    limits = [r.get("limits") or {} for r in resources]
    if not any(r.get("limits") or r.get("requests") for r in resources):
        return "BestEffort"
    full = all(
        {"cpu", "memory"} <= set(li) and (r.get("requests") or li) == li
        for r, li in zip(resources, limits, strict=True)
    )
    return "Guaranteed" if full else "Burstable"
