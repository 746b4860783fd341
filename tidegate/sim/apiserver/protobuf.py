"""Just enough protobuf for what kubectl sends that way: `kubectl create namespace|configmap|secret|deployment|…`.

Built-in typed clients of newer kubectl post `application/vnd.kubernetes.protobuf`: a `runtime.Unknown` envelope around
the object. Field numbers are those of the published `generated.proto` files, which never change. A kind or a field
that is not in the table here is 415: nothing is dropped silently.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

Object = dict[str, Any]
MAGIC: Final = b"k8s\x00"

# message → field number → (name, type); types: s string, b bytes, i integer, t bool, time, port (int or string),
# zero (an integer that must be 0), m:<type> map, [x] repeated
_MESSAGES: Final[dict[str, dict[int, tuple[str, str]]]] = {
    "Unknown": {
        1: ("typeMeta", "TypeMeta"),
        2: ("raw", "raw"),
        3: ("contentEncoding", "s"),
        4: ("contentType", "s"),
    },
    "TypeMeta": {1: ("apiVersion", "s"), 2: ("kind", "s")},
    "ObjectMeta": {
        1: ("name", "s"),
        2: ("generateName", "s"),
        3: ("namespace", "s"),
        4: ("selfLink", "s"),
        5: ("uid", "s"),
        6: ("resourceVersion", "s"),
        7: ("generation", "i"),
        8: ("creationTimestamp", "time"),
        9: ("deletionTimestamp", "time"),
        10: ("deletionGracePeriodSeconds", "i"),
        11: ("labels", "m:s"),
        12: ("annotations", "m:s"),
        13: ("ownerReferences", "[OwnerReference]"),
        14: ("finalizers", "[s]"),
    },
    "OwnerReference": {
        1: ("kind", "s"),
        3: ("name", "s"),
        4: ("uid", "s"),
        5: ("apiVersion", "s"),
        6: ("controller", "t"),
        7: ("blockOwnerDeletion", "t"),
    },
    "Namespace": {
        1: ("metadata", "ObjectMeta"),
        2: ("spec", "NamespaceSpec"),
        3: ("status", "NamespaceStatus"),
    },
    "NamespaceSpec": {1: ("finalizers", "[s]")},
    "NamespaceStatus": {1: ("phase", "s")},
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "m:s"),
        3: ("binaryData", "m:b"),
        4: ("immutable", "t"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "m:b"),
        3: ("type", "s"),
        4: ("stringData", "m:s"),
        5: ("immutable", "t"),
    },
    "ServiceAccount": {1: ("metadata", "ObjectMeta"), 4: ("automountServiceAccountToken", "t")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "i"),
        2: ("preconditions", "Preconditions"),
        3: ("orphanDependents", "t"),
        4: ("propagationPolicy", "s"),
        5: ("dryRun", "[s]"),
    },
    "Preconditions": {1: ("uid", "s"), 2: ("resourceVersion", "s")},
    "SelfSubjectAccessReview": {
        1: ("metadata", "ObjectMeta"),
        2: ("spec", "SelfSubjectAccessReviewSpec"),
        3: ("status", "AccessStatus"),
    },
    "AccessStatus": {
        1: ("allowed", "t"),
        2: ("reason", "s"),
        3: ("evaluationError", "s"),
        4: ("denied", "t"),
    },
    "SelfSubjectAccessReviewSpec": {1: ("resourceAttributes", "ResourceAttributes")},
    "ResourceAttributes": {
        1: ("namespace", "s"),
        2: ("verb", "s"),
        3: ("group", "s"),
        4: ("version", "s"),
        5: ("resource", "s"),
        6: ("subresource", "s"),
        7: ("name", "s"),
    },
    "Deployment": {1: ("metadata", "ObjectMeta"), 2: ("spec", "DeploymentSpec"), 3: ("status", "Empty")},
    "DeploymentSpec": {
        1: ("replicas", "i"),
        2: ("selector", "LabelSelector"),
        3: ("template", "PodTemplateSpec"),
        4: ("strategy", "DeploymentStrategy"),
        5: ("minReadySeconds", "i"),
        6: ("revisionHistoryLimit", "i"),
        7: ("paused", "t"),
        9: ("progressDeadlineSeconds", "i"),
    },
    "DeploymentStrategy": {1: ("type", "s")},
    "Empty": {},
    "LabelSelector": {1: ("matchLabels", "m:s")},
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {
        2: ("containers", "[Container]"),
        3: ("restartPolicy", "s"),
        4: ("terminationGracePeriodSeconds", "i"),
        6: ("dnsPolicy", "s"),
        7: ("nodeSelector", "m:s"),
        8: ("serviceAccountName", "s"),
        9: ("serviceAccount", "s"),
        10: ("nodeName", "s"),
        11: ("hostNetwork", "t"),
        12: ("hostPID", "t"),
        13: ("hostIPC", "t"),
        14: ("securityContext", "Empty"),
        16: ("hostname", "s"),
        17: ("subdomain", "s"),
        19: ("schedulerName", "s"),
        24: ("priorityClassName", "s"),
    },
    "Container": {
        1: ("name", "s"),
        2: ("image", "s"),
        3: ("command", "[s]"),
        4: ("args", "[s]"),
        5: ("workingDir", "s"),
        6: ("ports", "[ContainerPort]"),
        7: ("env", "[EnvVar]"),
        8: ("resources", "Empty"),
        13: ("terminationMessagePath", "s"),
        14: ("imagePullPolicy", "s"),
        16: ("stdin", "t"),
        17: ("stdinOnce", "t"),
        18: ("tty", "t"),
        20: ("terminationMessagePolicy", "s"),
    },
    "ContainerPort": {
        1: ("name", "s"),
        2: ("hostPort", "i"),
        3: ("containerPort", "i"),
        4: ("protocol", "s"),
        5: ("hostIP", "s"),
    },
    "EnvVar": {1: ("name", "s"), 2: ("value", "s")},
    "Service": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ServiceSpec"), 3: ("status", "ServiceStatus")},
    "ServiceStatus": {1: ("loadBalancer", "Empty")},
    "ServiceSpec": {
        1: ("ports", "[ServicePort]"),
        2: ("selector", "m:s"),
        3: ("clusterIP", "s"),
        4: ("type", "s"),
        7: ("sessionAffinity", "s"),
        8: ("loadBalancerIP", "s"),
        10: ("externalName", "s"),
        11: ("externalTrafficPolicy", "s"),
        12: ("healthCheckNodePort", "zero"),
        13: ("publishNotReadyAddresses", "t"),
        18: ("clusterIPs", "[s]"),
    },
    "ServicePort": {
        1: ("name", "s"),
        2: ("protocol", "s"),
        3: ("port", "i"),
        4: ("targetPort", "port"),
        5: ("nodePort", "i"),
    },
    "IntOrString": {1: ("type", "i"), 2: ("intVal", "i"), 3: ("strVal", "s")},
    "Job": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec"), 3: ("status", "Empty")},
    "JobSpec": {
        1: ("parallelism", "i"),
        2: ("completions", "i"),
        3: ("activeDeadlineSeconds", "i"),
        6: ("template", "PodTemplateSpec"),
        7: ("backoffLimit", "i"),
        8: ("ttlSecondsAfterFinished", "i"),
    },
    "Scale": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ScaleSpec")},
    "ScaleSpec": {1: ("replicas", "i")},
}


def decode(body: bytes) -> Object | None:
    """The object as JSON data; None when it has something we have no table for. Raises ValueError on broken bytes."""
    if not body.startswith(MAGIC):
        raise ValueError("the body does not begin with the Kubernetes protobuf prefix")
    envelope = _message("Unknown", body[len(MAGIC) :])
    head: Object = envelope.get("typeMeta") or {}
    if head.get("kind") not in _MESSAGES:
        return None
    try:
        return {**head, **_message(head["kind"], envelope.get("raw", b""))}
    except Unknown:
        return None


class Unknown(Exception):
    """A field the tables do not name."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            match tag & 7:
                case 0:
                    value, at = _varint(data, at)
                    yield tag >> 3, value
                case 2:
                    size, at = _varint(data, at)
                    yield tag >> 3, data[at : at + size]
                    at += size
                case 1 | 5 as kind:
                    at += 8 if kind == 1 else 4
                case other:
                    raise ValueError(f"unknown protobuf wire type {other}")
    except IndexError as error:
        raise ValueError("unexpected end of protobuf data") from error


def _message(name: str, data: bytes) -> Object:
    table = _MESSAGES[name]
    found: Object = {}
    for number, value in _fields(data):
        if number not in table:
            if value in (0, b""):
                continue
            raise Unknown(f"field {number} of {name}")
        field, kind = table[number]
        if kind.startswith("m:"):
            key, item = _entry(kind[2:], value)
            found.setdefault(field, {})[key] = item
        elif kind.startswith("["):
            found.setdefault(field, []).append(_value(kind[1:-1], value))
        elif (read := _value(kind, value)) not in ("", None) and kind != "zero":
            found[field] = read
    return found


def _entry(kind: str, value: int | bytes) -> tuple[str, Any]:
    parts = dict(_fields(value)) if isinstance(value, bytes) else {}
    key = parts.get(1, b"")
    return key.decode() if isinstance(key, bytes) else str(key), _value(kind, parts.get(2, b""))


def _value(kind: str, value: int | bytes) -> Any:
    if isinstance(value, int):
        if kind == "zero" and value:
            raise Unknown(f"{value} where only 0 is understood")
        return bool(value) if kind == "t" else value - (1 << 64) if value >> 63 else value
    match kind:
        case "s":
            return value.decode()
        case "b":
            return base64.b64encode(value).decode()
        case "raw":
            return value
        case "time":
            seconds = dict(_fields(value)).get(1)
            stamp = datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds else None
            return stamp.strftime("%Y-%m-%dT%H:%M:%SZ") if stamp else None
    if kind == "port":
        found = _message("IntOrString", value)
        return found.get("strVal") if found.get("type") else found.get("intVal", 0)
    return _message(kind, value)
