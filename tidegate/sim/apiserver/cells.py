"""Rows of what runs, as `kubectl get` shows it (kubernetes `pkg/printers/internalversion`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
NONE = "<none>"
UNKNOWN = "<unknown>"


def seconds_since(text: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(text.replace("Z", "+00:00"))).total_seconds()


def age(text: str | None) -> str:
    """Time since, as the real server abbreviates it."""
    return duration(seconds_since(text)) if text else UNKNOWN


def duration(seconds: float) -> str:
    """apimachinery `duration.HumanDuration`."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d" if days % 365 and days < 365 * 8 else f"{days // 365}y"


def name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def born(obj: Object) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def status(obj: Object) -> Object:
    return obj.get("status") or {}


def selector(value: Object | None) -> str:
    terms = [f"{k}={v}" for k, v in sorted(((value or {}).get("matchLabels") or {}).items())]
    for term in (value or {}).get("matchExpressions") or ():
        values = ",".join(term.get("values") or ())
        terms.append(f"{term['key']} {term['operator'].lower()} ({values})".replace(" ()", ""))
    return ",".join(terms) or NONE


def labels(value: Object | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((value or {}).items())) or NONE


def template(obj: Object) -> list[Any]:
    containers = ((spec(obj).get("template") or {}).get("spec") or {}).get("containers") or []
    return [",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)]


def plain(obj: Object) -> list[Any]:
    return [name(obj), born(obj)]


def created(obj: Object) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp", "")]


def pod(obj: Object) -> list[Any]:
    found, wanted = status(obj), spec(obj)
    containers = found.get("containerStatuses") or []
    ready = sum(bool(c.get("ready")) for c in containers)
    gates = wanted.get("readinessGates") or []
    true = {c["type"] for c in found.get("conditions") or () if c.get("status") == "True"}
    shown_gates = f"{sum(g['conditionType'] in true for g in gates)}/{len(gates)}" if gates else NONE
    return [
        name(obj),
        f"{ready}/{len(wanted.get('containers') or ())}",
        pod_reason(obj),
        _restarts(containers),
        born(obj),
        found.get("podIP") or NONE,
        wanted.get("nodeName") or NONE,
        found.get("nominatedNodeName") or NONE,
        shown_gates,
    ]


def _restarts(containers: list[Object]) -> str:
    count = sum(c.get("restartCount", 0) for c in containers)
    ends = [((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for c in containers]
    last = max((e for e in ends if e), default=None)
    return f"{count} ({age(last)} ago)" if count and last else str(count)


def pod_reason(obj: Object) -> str:
    """The STATUS column: the phase, or what keeps the pod from it."""
    found = status(obj)
    reason = found.get("reason") or found.get("phase") or UNKNOWN
    initial = _init_reason(obj)
    if initial:
        reason = initial
    else:
        running = False
        for container in reversed(found.get("containerStatuses") or []):
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                reason = waiting["reason"]
            elif ended is not None:
                reason = ended.get("reason") or _exit(ended)
            elif container.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            conditions = {c["type"]: c.get("status") for c in found.get("conditions") or ()}
            reason = "Running" if conditions.get("Ready") == "True" else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        return UNKNOWN if found.get("reason") == "NodeLost" else "Terminating"
    return str(reason)


def _exit(ended: Object) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _init_reason(obj: Object) -> str:
    containers = spec(obj).get("initContainers") or []
    for index, container in enumerate(status(obj).get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        ended = state.get("terminated")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or _exit(ended)}"
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(containers)}"
    return ""


def deployment(obj: Object) -> list[Any]:
    found = status(obj)
    return [
        name(obj),
        f"{found.get('readyReplicas', 0)}/{spec(obj).get('replicas', 0)}",
        found.get("updatedReplicas", 0),
        found.get("availableReplicas", 0),
        born(obj),
        *template(obj),
        selector(spec(obj).get("selector")),
    ]


def replica_set(obj: Object) -> list[Any]:
    found = status(obj)
    counts = [spec(obj).get("replicas", 0), found.get("replicas", 0), found.get("readyReplicas", 0)]
    return [name(obj), *counts, born(obj), *template(obj), selector(spec(obj).get("selector"))]


def stateful_set(obj: Object) -> list[Any]:
    ready = f"{status(obj).get('readyReplicas', 0)}/{spec(obj).get('replicas', 0)}"
    return [name(obj), ready, born(obj), *template(obj)]


def daemon_set(obj: Object) -> list[Any]:
    counters = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    nodes = ((spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector")
    return [
        name(obj),
        *(status(obj).get(c, 0) for c in counters),
        labels(nodes),
        born(obj),
        *template(obj),
        selector(spec(obj).get("selector")),
    ]


def job(obj: Object) -> list[Any]:
    found, wanted = status(obj), spec(obj)
    done = found.get("succeeded", 0)
    completions = f"{done}/{wanted['completions']}" if "completions" in wanted else f"{done}/1"
    if "completions" not in wanted and wanted.get("parallelism", 1) > 1:
        completions = f"{done}/1 of {wanted['parallelism']}"
    start, end = found.get("startTime"), found.get("completionTime")
    took = duration(seconds_since(start) - (seconds_since(end) if end else 0)) if start else ""
    return [
        name(obj),
        _job_status(obj),
        completions,
        took,
        born(obj),
        *template(obj),
        selector(wanted.get("selector")),
    ]


def _job_status(obj: Object) -> str:
    true = {c["type"] for c in status(obj).get("conditions") or () if c.get("status") == "True"}
    for condition, text in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in true:
            return text
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def cron_job(obj: Object) -> list[Any]:
    wanted, found = spec(obj), status(obj)
    last = found.get("lastScheduleTime")
    inner = {"spec": (wanted.get("jobTemplate") or {}).get("spec") or {}}
    return [
        name(obj),
        wanted.get("schedule", ""),
        wanted.get("timeZone") or NONE,
        str(bool(wanted.get("suspend"))),
        len(found.get("active") or ()),
        age(last) if last else NONE,
        born(obj),
        *template(inner),
        selector(inner["spec"].get("selector")),
    ]


def service(obj: Object) -> list[Any]:
    wanted = spec(obj)
    return [
        name(obj),
        wanted.get("type", ""),
        wanted.get("clusterIP") or NONE,
        _external(obj),
        _ports(wanted.get("ports") or []) or NONE,
        born(obj),
        labels(wanted.get("selector")),
    ]


def _external(obj: Object) -> str:
    wanted = spec(obj)
    given = list(wanted.get("externalIPs") or ())
    match wanted.get("type"):
        case "ExternalName":
            return str(wanted.get("externalName", ""))
        case "LoadBalancer":
            ingress = (status(obj).get("loadBalancer") or {}).get("ingress") or []
            found = [i.get("ip") or i.get("hostname") for i in ingress] + given
            return ",".join(str(f) for f in found) or "<pending>"
    return ",".join(given) or NONE


def _ports(ports: list[Object]) -> str:
    shown = []
    for port in ports:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(shown)


def node(obj: Object) -> list[Any]:
    found = status(obj)
    ready = next((c for c in found.get("conditions") or () if c["type"] == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if spec(obj).get("unschedulable"):
        text += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(
        k.removeprefix(prefix) for k in obj["metadata"].get("labels") or {} if k.startswith(prefix)
    )
    addresses = {a["type"]: a["address"] for a in found.get("addresses") or ()}
    info = found.get("nodeInfo") or {}
    return [
        name(obj),
        text,
        ",".join(roles) or NONE,
        born(obj),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]
