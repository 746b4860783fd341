"""What a new object must satisfy: names, required fields, selectors.

Causes are worded as the real server words them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from tidegate.sim.apiserver.failures import (
    Cause,
    field_duplicate,
    field_forbidden,
    field_invalid,
    field_required,
    field_unsupported,
)
from tidegate.sim.apiserver.quantity import amount, canonical
from tidegate.sim.apiserver.resources import Resource

Object = dict[str, Any]
_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_1035: Final = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_QUALIFIED: Final = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_LABEL_VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
NAME_PART_TEXT: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
CONFIG_KEY_TEXT: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
LABEL_KEY_TEXT: Final = (
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. "
    "'example.com/MyName')"
)
_STANDARD_FINALIZERS: Final = frozenset({"foregroundDeletion", "orphan", "kubernetes"})
_RBAC: Final = "rbac.authorization.k8s.io"


def metadata_causes(resource: Resource, obj: Object) -> Iterator[Cause]:
    metadata = obj["metadata"]
    yield from _name_causes(resource, str(metadata.get("name", "")))
    yield from labels_causes("metadata.labels", metadata.get("labels") or {})
    total = sum(len(k) + len(str(v)) for k, v in (metadata.get("annotations") or {}).items())
    for key in metadata.get("annotations") or {}:
        if not _is_qualified(key.lower()):
            yield field_invalid("metadata.annotations", key, NAME_PART_TEXT)
    if total > 256 * 1024:
        yield Cause(
            "FieldValueTooLong", "Too long: may not be more than 262144 bytes", "metadata.annotations"
        )
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if not _is_qualified(finalizer):
            yield field_invalid("metadata.finalizers", finalizer, NAME_PART_TEXT)
        elif "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS and resource.custom is None:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield field_invalid(f"metadata.finalizers[{index}]", finalizer, text)
    for owner in metadata.get("ownerReferences") or ():
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                yield field_invalid(f"metadata.ownerReferences.{name}", "", "must not be empty")


def _name_causes(resource: Resource, name: str) -> Iterator[Cause]:
    if resource.group == _RBAC:
        if "/" in name or "%" in name or name in (".", ".."):
            yield field_invalid(
                "metadata.name", name, "may not contain '/'" if "/" in name else "may not contain '%'"
            )
        return
    if resource.kind == "Service":
        pattern, text, limit = _LABEL_1035, LABEL_1035_TEXT, 63
    elif resource.kind == "Namespace":
        pattern, text, limit = _LABEL, LABEL_TEXT, 63
    else:
        pattern, text, limit = _SUBDOMAIN, SUBDOMAIN_TEXT, 253
    if len(name) > limit:
        yield field_invalid("metadata.name", name, f"must be no more than {limit} characters")
    if not pattern.match(name):
        yield field_invalid("metadata.name", name, text)


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (_SUBDOMAIN.match(prefix) and len(prefix) <= 253):
        return False
    return len(name) <= 63 and bool(_QUALIFIED.match(name))


def labels_causes(path: str, labels: Object) -> Iterator[Cause]:
    for key, value in labels.items():
        if not _is_qualified(key):
            yield field_invalid(path, key, LABEL_KEY_TEXT if key.count("/") > 1 else NAME_PART_TEXT)
        if len(str(value)) > 63:
            yield field_invalid(path, value, "must be no more than 63 bytes")
        elif not _LABEL_VALUE.match(str(value)):
            yield field_invalid(path, value, VALUE_TEXT)


def matches(selector: Object, labels: Object) -> bool:
    """Whether a LabelSelector selects these labels."""
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or ():
        found, values = labels.get(term["key"]), term.get("values") or ()
        match term["operator"]:
            case "In" if found not in values:
                return False
            case "NotIn" if found in values and found is not None:
                return False
            case "Exists" if term["key"] not in labels:
                return False
            case "DoesNotExist" if term["key"] in labels:
                return False
    return True


def _workload(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    mismatch = field_invalid(
        "spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`"
    )
    if selector is None:
        yield field_required("spec.selector")
        yield mismatch
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield field_invalid("spec.selector", selector, "empty selector is invalid for deployment")
    elif not matches(selector, labels):
        yield mismatch
    yield from _not_negative(spec, "spec", "replicas")
    if obj.get("kind") == "Deployment":
        yield from _rollout(spec)
    claims = {(c.get("metadata") or {}).get("name") for c in spec.get("volumeClaimTemplates") or ()}
    yield from _pod_template(template, "spec.template", ("Always",), claims)


def _not_negative(values: Object, path: str, *names: str) -> Iterator[Cause]:
    for name in names:
        value = values.get(name)
        if isinstance(value, int) and value < 0:
            yield field_invalid(f"{path}.{name}", value, "must be greater than or equal to 0")


def _rollout(spec: Object) -> Iterator[Cause]:
    """A Deployment's strategy and deadlines."""
    strategy = spec.get("strategy") or {}
    rolling, kind = strategy.get("rollingUpdate"), strategy.get("type", "RollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        given = {"Type": kind, "RollingUpdate": rolling}
        yield field_unsupported("spec.strategy", given, ("Recreate", "RollingUpdate"))
    elif kind == "Recreate" and rolling is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        yield field_forbidden("spec.strategy.rollingUpdate", text)
    elif rolling and all(rolling.get(name) in (0, "0%") for name in ("maxSurge", "maxUnavailable")):
        text = "may not be 0 when `maxSurge` is 0"
        yield field_invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], text)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        yield field_invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _pod_template(
    template: Object, path: str, policies: tuple[str, ...], claims: set[Any]
) -> Iterator[Cause]:
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from labels_causes(f"{path}.labels", labels)
    spec = template.get("spec") or {}
    yield from pod_spec_causes(spec, f"{path}.spec", claims)
    if spec.get("restartPolicy", policies[0]) not in policies:
        yield field_unsupported(f"{path}.spec.restartPolicy", spec["restartPolicy"], policies)


_SOURCES: Final = (
    "emptyDir",
    "hostPath",
    "secret",
    "configMap",
    "downwardAPI",
    "projected",
    "persistentVolumeClaim",
)
_PULLS: Final = ("Always", "IfNotPresent", "Never")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_ACTIONS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_POLICIES: Final = ("Always", "OnFailure", "Never")


def pod_spec_causes(spec: Object, path: str, claims: Collection[Any] = ()) -> Iterator[Cause]:
    """`claims`: names of volumes a StatefulSet adds to its pods."""
    containers = spec.get("containers") or []
    if not containers:
        yield field_required(f"{path}.containers")
    names: set[str] = set()
    volumes = {v.get("name") for v in spec.get("volumes") or ()} | set(claims)
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield from _container_causes(container, f"{path}.{kind}[{index}]", names, volumes)
    for index, volume in enumerate(spec.get("volumes") or ()):
        sources = [name for name, source in volume.items() if name != "name" and source is not None]
        for extra in [name for name in _SOURCES if name in sources][1:]:
            yield field_forbidden(
                f"{path}.volumes[{index}].{extra}", "may not specify more than 1 volume type"
            )
    if "restartPolicy" in spec and spec["restartPolicy"] not in _POLICIES:
        yield field_unsupported(f"{path}.restartPolicy", spec["restartPolicy"], _POLICIES)


def _container_causes(container: Object, path: str, names: set[str], volumes: set[Any]) -> Iterator[Cause]:
    name = str(container.get("name", ""))
    if not name:
        yield field_required(f"{path}.name")
    elif not _LABEL.match(name) or len(name) > 63:
        yield field_invalid(f"{path}.name", name, LABEL_TEXT)
    elif name in names:
        yield field_duplicate(f"{path}.name", name)
    names.add(name)
    if not container.get("image"):
        yield field_required(f"{path}.image")
    if container.get("imagePullPolicy", "Always") not in _PULLS:
        yield field_unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULLS)
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None and not any(probe.get(action) is not None for action in _ACTIONS):
            yield field_required(f"{path}.{name}", "must specify a handler type")
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort", 0)
        if not 0 < number < 65536:
            yield field_invalid(
                f"{path}.ports[{index}].containerPort", number, "must be between 1 and 65535, inclusive"
            )
        if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
            yield field_unsupported(
                f"{path}.ports[{index}].protocol", port["protocol"], ("SCTP", "TCP", "UDP")
            )
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield field_required(f"{path}.env[{index}].name")
        if variable.get("value") and variable.get("valueFrom"):
            text = "may not be specified when `value` is not empty"
            yield field_invalid(f"{path}.env[{index}].valueFrom", "", text)
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield Cause(
                "FieldValueNotFound",
                f'Not found: "{mount.get("name")}"',
                f"{path}.volumeMounts[{index}].name",
            )
    yield from _resources_causes(container.get("resources") or {}, f"{path}.resources")


def _resources_causes(resources: Object, path: str) -> Iterator[Cause]:
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            text = canonical(value)
            if text is None:
                yield field_invalid(
                    f"{path}.{kind}.{name}", value, "quantities must match the regular expression"
                )
            elif text.startswith("-"):
                yield field_invalid(f"{path}.{kind}.{name}", value, "must be greater than or equal to 0")
    limits = resources.get("limits") or {}
    for name, value in (resources.get("requests") or {}).items():
        asked, most = amount(value), amount(limits[name]) if name in limits else None
        if asked is not None and most is not None and asked > most:
            text = f"must be less than or equal to {name} limit of {limits[name]}"
            yield field_invalid(f"{path}.requests", value, text)


def _pod(obj: Object) -> Iterator[Cause]:
    yield from pod_spec_causes(obj.get("spec") or {}, "spec")


def _job(obj: Object) -> Iterator[Cause]:
    template = (obj.get("spec") or {}).get("template") or {}
    yield from pod_spec_causes(template.get("spec") or {}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy in (None, "", "Always"):  # Always is the default, so it counts as not said
        yield field_required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield field_unsupported("spec.template.spec.restartPolicy", policy, ("Never", "OnFailure"))
    yield from _not_negative(obj.get("spec") or {}, "spec", "backoffLimit", "parallelism", "completions")


_CONCURRENCY: Final = ("Allow", "Forbid", "Replace")


def _cron_job(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("schedule"):
        yield field_required("spec.schedule")
    elif len(str(spec["schedule"]).split()) != 5 and not str(spec["schedule"]).startswith("@"):
        text = f"expected exactly 5 fields, found {len(str(spec['schedule']).split())}: [{spec['schedule']}]"
        yield field_invalid("spec.schedule", spec["schedule"], text)
    if spec.get("concurrencyPolicy", "Allow") not in _CONCURRENCY:
        yield field_unsupported("spec.concurrencyPolicy", spec["concurrencyPolicy"], _CONCURRENCY)
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    yield from pod_spec_causes(template.get("spec") or {}, "spec.jobTemplate.spec.template.spec")


_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_SERVICE_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _service(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    ports = spec.get("ports") or []
    if spec.get("type") not in _SERVICE_TYPES:
        yield field_unsupported("spec.type", spec.get("type"), _SERVICE_TYPES)
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield field_required("spec.ports")
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            yield field_required(f"{path}.name")
        elif port.get("name") in names:
            yield field_duplicate(f"{path}.name", port["name"])
        names.add(port.get("name", ""))
        if not 0 < (port.get("port") or 0) < 65536:
            yield field_invalid(f"{path}.port", port.get("port"), "must be between 1 and 65535, inclusive")
        target = port.get("targetPort", 1)
        if isinstance(target, int) and not 0 < target < 65536:
            yield field_invalid(f"{path}.targetPort", target, "must be between 1 and 65535, inclusive")
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            yield field_unsupported(f"{path}.protocol", port["protocol"], _PROTOCOLS)
    if spec.get("type") == "ExternalName" and not _SUBDOMAIN.match(name := spec.get("externalName") or ""):
        yield field_invalid("spec.externalName", name, SUBDOMAIN_TEXT)
    for index, address in enumerate(spec.get("clusterIPs") or ()):
        if address and address != "None" and not _is_address(address):
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            yield field_invalid(f"spec.clusterIPs[{index}]", address, text)
    yield from labels_causes("spec.selector", spec.get("selector") or {})


def _config_map(obj: Object) -> Iterator[Cause]:
    size = 0
    for name in ("data", "binaryData"):
        for key, value in (obj.get(name) or {}).items():
            size += len(key) + len(str(value).encode())
            if not re.fullmatch(r"[-._a-zA-Z0-9]+", key) or len(key) > 253:
                yield field_invalid(f"{name}[{key}]", key, CONFIG_KEY_TEXT)
            elif name == "data" and key in (obj.get("binaryData") or {}):
                yield field_invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    if size > 1024 * 1024:
        yield Cause("FieldValueTooLong", "Too long: may not be more than 1048576 bytes", "")


_SECRET_KEYS: Final = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _secret(obj: Object) -> Iterator[Cause]:
    yield from _config_map(obj)
    for key in _SECRET_KEYS.get(obj.get("type", ""), ()):
        if key not in (obj.get("data") or {}):
            yield field_required(f"data[{key}]")


def _budget(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if None not in (spec.get("minAvailable"), spec.get("maxUnavailable")):
        yield field_invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    yield from _not_negative(spec, "spec", "minAvailable", "maxUnavailable")


_SUBJECTS: Final = ("ServiceAccount", "User", "Group")


def _binding(obj: Object) -> Iterator[Cause]:
    reference = obj.get("roleRef") or {}
    if reference.get("kind") not in ("Role", "ClusterRole"):
        yield field_unsupported("roleRef.kind", reference.get("kind") or "", ("Role", "ClusterRole"))
    if not reference.get("name"):
        yield field_required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or ()):
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield field_required(f"subjects[{index}].namespace")
        if subject.get("kind") not in _SUBJECTS:
            yield field_unsupported(f"subjects[{index}].kind", subject.get("kind"), _SUBJECTS)


def _definition(obj: Object) -> Iterator[Cause]:
    spec, names = obj.get("spec") or {}, (obj.get("spec") or {}).get("names") or {}
    expected = f"{names.get('plural', '')}.{spec.get('group', '')}"
    if obj["metadata"].get("name") != expected:
        yield field_invalid(
            "metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'
        )
    versions = spec.get("versions") or []
    if sum(bool(v.get("storage")) for v in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield field_invalid("spec.versions", [_go_version(v) for v in versions], text)
        stored = [v.get("name") for v in versions if v.get("storage")]
        if not stored:
            text = "must have at least one stored version"
            yield field_invalid("status.storedVersions", None, text)
        for name in stored[1:]:
            text = f"must have the storage version {name}"
            yield field_invalid("status.storedVersions", stored[:1], text)
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield field_required(f"spec.versions[{index}].schema.openAPIV3Schema")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield field_unsupported("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))


def _go_version(version: Object) -> Object:
    """A version of a definition, as Go's own structure prints itself."""
    return {
        "Name": version.get("name", ""),
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": None,
        "Subresources": version.get("subresources"),
        "AdditionalPrinterColumns": version.get("additionalPrinterColumns"),
        "SelectableFields": version.get("selectableFields"),
    }


def _ingress(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield field_invalid("spec", None, "either `defaultBackend` or `rules` must be specified")
    for r, rule in enumerate(spec.get("rules") or ()):
        host = (rule.get("host") or "").removeprefix("*.")
        if host and not _SUBDOMAIN.match(host):
            yield field_invalid(f"spec.rules[{r}].host", host, SUBDOMAIN_TEXT)
        for p, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            where = f"spec.rules[{r}].http.paths[{p}]"
            if path.get("pathType") not in ("Exact", "Prefix", "ImplementationSpecific"):
                yield field_required(f"{where}.pathType", "pathType must be specified")
            elif path["pathType"] != "ImplementationSpecific" and not (path.get("path") or "").startswith(
                "/"
            ):
                yield field_invalid(f"{where}.path", path.get("path") or "", "must be an absolute path")


_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def _claim(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("accessModes"):
        yield field_required("spec.accessModes", "at least 1 access mode is required")
    for mode in spec.get("accessModes") or ():
        if mode not in _MODES:
            yield field_unsupported("spec.accessModes", mode, _MODES)
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        yield field_required("spec.resources[storage]")


def _event(obj: Object) -> Iterator[Cause]:
    involved = (obj.get("involvedObject") or {}).get("namespace", "")
    if involved and involved != obj["metadata"].get("namespace"):
        yield field_invalid("involvedObject.namespace", involved, "does not match event.namespace")


def _lease(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield field_invalid(
            "spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"
        )
    yield from _not_negative(spec, "spec", "leaseTransitions")


_CHECKS: Final[dict[str, Callable[[Object], Iterator[Cause]]]] = {
    "ClusterRoleBinding": _binding,
    "ConfigMap": _config_map,
    "CronJob": _cron_job,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _workload,
    "Deployment": _workload,
    "Event": _event,
    "Ingress": _ingress,
    "Job": _job,
    "Lease": _lease,
    "PersistentVolumeClaim": _claim,
    "PodDisruptionBudget": _budget,
    "Pod": _pod,
    "ReplicaSet": _workload,
    "RoleBinding": _binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _workload,
}


def causes(resource: Resource, obj: Object) -> list[Cause]:
    """Everything wrong with the object, metadata first."""
    found = list(metadata_causes(resource, obj))
    check = _CHECKS.get(resource.kind) if resource.custom is None else None
    if check is not None:
        found += check(obj)
    return found
