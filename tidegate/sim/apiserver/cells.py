"""One row per kind, as `kubectl get` shows it (kubernetes `pkg/printers/internalversion`)."""

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


def namespace(obj: Object) -> list[Any]:
    return [name(obj), status(obj).get("phase", ""), born(obj)]


def config_map(obj: Object) -> list[Any]:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), born(obj)]


def secret(obj: Object) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), born(obj)]


def service_account(obj: Object) -> list[Any]:
    return [name(obj), len(obj.get("secrets") or ()), born(obj)]


def event(obj: Object) -> list[Any]:
    involved = obj.get("involvedObject") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = (obj.get("series") or {}).get("lastObservedTime") or obj.get("lastTimestamp") or first
    source = obj.get("source") or {}
    origin = ", ".join(
        p for p in (source.get("component") or obj.get("reportingComponent"), source.get("host")) if p
    )
    kind = str(involved.get("kind", "")).lower()
    return [
        age(last),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{involved.get('name', '')}" if involved.get("name") else kind,
        involved.get("fieldPath", ""),
        origin,
        str(obj.get("message", "")).strip(),
        age(first),
        obj.get("count", 1),
        name(obj),
    ]


def binding(obj: Object) -> list[Any]:
    reference = obj.get("roleRef") or {}
    found: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        shown = "/".join(p for p in (subject.get("namespace"), subject.get("name")) if p)
        found.setdefault(subject.get("kind", ""), []).append(shown)
    role = f"{reference.get('kind', '')}/{reference.get('name', '')}"
    kinds = ("User", "Group", "ServiceAccount")
    return [name(obj), role, born(obj), *(", ".join(found[k]) for k in kinds)]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def claim(obj: Object) -> list[Any]:
    wanted, found = spec(obj), status(obj)
    text = "Terminating" if obj["metadata"].get("deletionTimestamp") else found.get("phase", "")
    bound = bool(wanted.get("volumeName"))
    capacity = (found.get("capacity") or {}).get("storage", "") if bound else ""
    modes = ",".join(_MODES.get(m, m) for m in found.get("accessModes") or ()) if bound else ""
    return [
        name(obj),
        text,
        wanted.get("volumeName", ""),
        capacity,
        modes,
        wanted.get("storageClassName", ""),
        wanted.get("volumeAttributesClassName") or "<unset>",
        born(obj),
        wanted.get("volumeMode") or "<unset>",
    ]


def ingress(obj: Object) -> list[Any]:
    wanted = spec(obj)
    hosts = [r["host"] for r in wanted.get("rules") or () if r.get("host")]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    addresses = [
        i.get("ip") or i.get("hostname") or ""
        for i in (status(obj).get("loadBalancer") or {}).get("ingress") or ()
    ]
    return [
        name(obj),
        wanted.get("ingressClassName") or NONE,
        shown or "*",
        ",".join(addresses),
        "80, 443" if wanted.get("tls") else "80",
        born(obj),
    ]


def autoscaler(obj: Object) -> list[Any]:
    wanted, target = spec(obj), spec(obj).get("scaleTargetRef") or {}
    now = {
        (m.get("resource") or {}).get("name"): m["resource"] for m in status(obj).get("currentMetrics") or ()
    }
    shown = []
    for metric in wanted.get("metrics") or ():
        source = metric.get("resource") or {}
        value = ((now.get(source.get("name")) or {}).get("current") or {}).get("averageUtilization")
        percent = f"{value}%" if value is not None else UNKNOWN
        shown.append(
            f"{source.get('name')}: {percent}/{(source.get('target') or {}).get('averageUtilization')}%"
        )
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        ", ".join(shown) or NONE,
        str(wanted.get("minReplicas", "<unset>")),
        wanted.get("maxReplicas", 0),
        status(obj).get("currentReplicas", 0),
        born(obj),
    ]


def disruption_budget(obj: Object) -> list[Any]:
    wanted = spec(obj)
    limits = [str(wanted.get(k, "N/A")) for k in ("minAvailable", "maxUnavailable")]
    return [name(obj), *limits, status(obj).get("disruptionsAllowed", 0), born(obj)]


def endpoints(obj: Object) -> list[Any]:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    return [name(obj), _few(found), born(obj)]


def _few(values: list[str]) -> str:
    more = f" + {len(values) - 3} more..." if len(values) > 3 else ""
    return (",".join(values[:3]) + more) or NONE


def endpoint_slice(obj: Object) -> list[Any]:
    ports = [str(p.get("port", "*")) for p in obj.get("ports") or ()]
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [
        name(obj),
        obj.get("addressType", ""),
        _few(ports) if ports else "<unset>",
        _few(addresses),
        born(obj),
    ]


def lease(obj: Object) -> list[Any]:
    return [name(obj), spec(obj).get("holderIdentity", ""), born(obj)]


def network_policy(obj: Object) -> list[Any]:
    return [name(obj), selector(spec(obj).get("podSelector")), born(obj)]


def storage_class(obj: Object) -> list[Any]:
    default = (obj["metadata"].get("annotations") or {}).get(
        "storageclass.kubernetes.io/is-default-class"
    ) == "true"
    return [
        name(obj) + (" (default)" if default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        born(obj),
    ]


def priority_class(obj: Object) -> list[Any]:
    default = bool(obj.get("globalDefault"))
    return [name(obj), obj.get("value", 0), default, born(obj), obj.get("preemptionPolicy", "")]


def ingress_class(obj: Object) -> list[Any]:
    parameters = spec(obj).get("parameters")
    shown = f"{parameters.get('kind')}/{parameters.get('name')}" if parameters else NONE
    return [name(obj), spec(obj).get("controller", ""), shown, born(obj)]


def controller_revision(obj: Object) -> list[Any]:
    owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    shown = (
        f"{owner['kind'].lower()}.{owner['apiVersion'].partition('/')[0]}/{owner['name']}" if owner else NONE
    )
    return [name(obj), shown, obj.get("revision", 0), born(obj)]


def webhooks(obj: Object) -> list[Any]:
    return [name(obj), len(obj.get("webhooks") or ()), born(obj)]
