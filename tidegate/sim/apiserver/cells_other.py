"""Rows of everything that runs no pods: configuration, storage, network, access."""

from __future__ import annotations

from typing import Any

from tidegate.sim.apiserver.cells import NONE, UNKNOWN, Object, age, born, name, selector, spec, status


def namespace(obj: Object) -> list[Any]:
    return [name(obj), status(obj).get("phase", ""), born(obj)]


def config_map(obj: Object) -> list[Any]:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), born(obj)]


def secret(obj: Object) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), born(obj)]


def service_account(obj: Object) -> list[Any]:
    return [name(obj), born(obj)]


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
