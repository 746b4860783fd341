"""What an object looks like: its fields, and how its lists and maps are owned and merged.

`types.json` knows the fields; the table here adds which lists are maps by key, which are sets, and which structures
are owned as one piece (x-kubernetes-list-type and x-kubernetes-map-type of the real server's OpenAPI).
Custom resources bring the same facts in their CRD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final


class Form(StrEnum):
    SCALAR = "scalar"
    STRUCT = "struct"
    """Named fields; a field that is not named is an error."""
    MAP = "map"
    """Any key, one type of value."""
    LIST = "list"
    ANY = "any"
    """Whatever is there: maps by key, lists as one piece."""


# "Type.field": the keys that name an element
LIST_KEYS: Final[dict[str, str]] = {
    "V1Container.env": "name",
    "V1Container.ports": "containerPort protocol",
    "V1Container.volumeDevices": "devicePath",
    "V1Container.volumeMounts": "mountPath",
    "V1ContainerStatus.volumeMounts": "mountPath",
    "V1CustomResourceDefinitionStatus.conditions": "type",
    "V1DaemonSetStatus.conditions": "type",
    "V1DeploymentStatus.conditions": "type",
    "V1EphemeralContainer.env": "name",
    "V1EphemeralContainer.ports": "containerPort protocol",
    "V1EphemeralContainer.volumeDevices": "devicePath",
    "V1EphemeralContainer.volumeMounts": "mountPath",
    "V1MutatingWebhook.matchConditions": "name",
    "V1MutatingWebhookConfiguration.webhooks": "name",
    "V1NamespaceStatus.conditions": "type",
    "V1NodeStatus.addresses": "type",
    "V1NodeStatus.conditions": "type",
    "V1ObjectMeta.ownerReferences": "uid",
    "V1PersistentVolumeClaimStatus.conditions": "type",
    "V1PodDisruptionBudgetStatus.conditions": "type",
    "V1PodSpec.containers": "name",
    "V1PodSpec.ephemeralContainers": "name",
    "V1PodSpec.hostAliases": "ip",
    "V1PodSpec.imagePullSecrets": "name",
    "V1PodSpec.initContainers": "name",
    "V1PodSpec.resourceClaims": "name",
    "V1PodSpec.schedulingGates": "name",
    "V1PodSpec.topologySpreadConstraints": "topologyKey whenUnsatisfiable",
    "V1PodSpec.volumes": "name",
    "V1PodStatus.conditions": "type",
    "V1PodStatus.podIPs": "ip",
    "V1PodStatus.resourceClaimStatuses": "name",
    "V1ReplicaSetStatus.conditions": "type",
    "V1ResourceRequirements.claims": "name",
    "V1ServiceAccount.secrets": "name",
    "V1ServiceSpec.ports": "port protocol",
    "V1ServiceStatus.conditions": "type",
    "V1StatefulSetStatus.conditions": "type",
    "V1ValidatingWebhook.matchConditions": "name",
    "V1ValidatingWebhookConfiguration.webhooks": "name",
    "V2HorizontalPodAutoscalerStatus.conditions": "type",
}
KEY_DEFAULTS: Final[dict[str, Any]] = {"protocol": "TCP"}
SETS: Final = frozenset(
    {
        "V1Endpoint.addresses",
        "V1NodeSpec.podCIDRs",
        "V1ObjectMeta.finalizers",
        "V1PodFailurePolicyOnExitCodesRequirement.values",
        "V1UncountedTerminatedPods.failed",
        "V1UncountedTerminatedPods.succeeded",
    }
)
ATOMIC_TYPES: Final = frozenset(
    [
        "CoreV1EndpointPort",
        "DiscoveryV1EndpointPort",
        "V1ConfigMapKeySelector",
        "V1EndpointAddress",
        "V1LabelSelector",
        "V1LocalObjectReference",
        "V1NodeSelector",
        "V1NodeSelectorTerm",
        "V1ObjectFieldSelector",
        "V1ObjectReference",
        "V1OwnerReference",
        "V1ResourceFieldSelector",
        "V1RoleRef",
        "V1ScopeSelector",
        "V1SecretKeySelector",
        "V1SecretReference",
        "V1ServiceBackendPort",
        "V1TopologySelectorTerm",
        "V1TypedLocalObjectReference",
        "RbacV1Subject",
        "V1Subject",
    ]
)
ATOMIC_MAPS: Final = frozenset({"V1PodSpec.nodeSelector", "V1ServiceSpec.selector"})
# lists that SSA owns as one piece and strategic merge patch still merges by key
PATCH_KEYS: Final[dict[str, str]] = {"V1JobStatus.conditions": "type"}
QUANTITY_MAPS: Final = frozenset(
    [
        "allocatable",
        "allocatedResources",
        "capacity",
        "default",
        "defaultRequest",
        "hard",
        "limits",
        "max",
        "maxLimitRequestRatio",
        "min",
        "overhead",
        "requests",
        "used",
    ]
)
QUANTITY_FIELDS: Final = frozenset({"sizeLimit", "divisor", "averageValue"})


class Shape:
    """The type of one value. Cheap to hold: fields are resolved when first asked for (types may be recursive)."""

    __slots__ = (
        "_build",
        "_fields",
        "atomic",
        "element",
        "form",
        "keys",
        "name",
        "patch_key",
        "quantity",
        "scalar",
        "unique",
    )

    def __init__(
        self,
        form: Form,
        *,
        scalar: str = "",
        element: Shape | None = None,
        build: Callable[[], Mapping[str, Shape]] | None = None,
        atomic: bool = False,
        keys: tuple[str, ...] = (),
        unique: bool = False,
        patch_key: str = "",
        quantity: bool = False,
        name: str = "",
    ) -> None:
        self.form = form
        self.name = name
        """Go's name of a struct: `PodSpec`."""
        self.scalar = scalar
        self.element = element
        self.atomic = atomic
        self.keys = keys
        self.unique = unique
        self.patch_key = patch_key or (keys[0] if keys else "")
        self.quantity = quantity
        self._build = build
        self._fields: Mapping[str, Shape] | None = None

    @property
    def fields(self) -> Mapping[str, Shape]:
        if self._fields is None:
            self._fields = self._build() if self._build else {}
        return self._fields

    def field(self, name: str) -> Shape | None:
        """The shape under a key, or None when this shape does not declare it."""
        if self.form is Form.STRUCT:
            found = self.fields.get(name)
            return found if found is not None else self.element
        return self.element if self.form is Form.MAP else ANY

    def key_of(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """The key values that name an element of this keyed list, defaults filled in; None when one is missing."""
        found = {k: item.get(k, KEY_DEFAULTS.get(k)) for k in self.keys}
        return None if any(v is None for v in found.values()) else found


ANY: Final = Shape(Form.ANY)
ATOMIC_ANY: Final = Shape(Form.ANY, atomic=True)
_SCALARS: Final = {name: Shape(Form.SCALAR, scalar=name) for name in ("str", "int", "bool", "float")}
_VERSION: Final = re.compile(r"^[A-Z][a-z]*?V\d+(alpha\d+|beta\d+)?(?=[A-Z])|^V\d+(alpha\d+|beta\d+)?")
"""What the Python client puts before the name of a type: `V1`, `CoreV1`."""
_QUANTITY: Final = Shape(Form.SCALAR, scalar="quantity", quantity=True)


@cache
def _types() -> dict[str, dict[str, str]]:
    text = Path(__file__).with_name("types.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, str]] = json.loads(text)
    return loaded


@cache
def named(model: str) -> Shape:
    """The shape of a built-in type.

    >>> named("V1PodSpec").fields["containers"].keys
    ('name',)
    """
    if model not in _types():
        return ANY
    return Shape(
        Form.STRUCT,
        build=lambda: _fields(model),
        atomic=model in ATOMIC_TYPES,
        name=_VERSION.sub("", model, count=1),
    )


def required(model: str) -> tuple[str, ...]:
    return tuple(name for name, text in _types().get(model, {}).items() if text.endswith("!"))


def _fields(model: str) -> Mapping[str, Shape]:
    return {name: _field(model, name, text.removesuffix("!")) for name, text in _types()[model].items()}


def _field(model: str, name: str, text: str) -> Shape:
    path = f"{model}.{name}"
    if text == "str" and name in QUANTITY_FIELDS:
        return _QUANTITY
    if text.startswith("["):
        keys = tuple(LIST_KEYS.get(path, "").split())
        unique = path in SETS
        element = _plain(text[1:-1])
        return Shape(
            Form.LIST,
            element=element,
            keys=keys,
            unique=unique,
            atomic=not keys and not unique,
            patch_key=PATCH_KEYS.get(path, ""),
        )
    if text.startswith("{"):
        quantity = text == "{str}" and name in QUANTITY_MAPS
        return Shape(
            Form.MAP, element=_QUANTITY if quantity else _plain(text[1:-1]), atomic=path in ATOMIC_MAPS
        )
    return _plain(text)


def _plain(text: str) -> Shape:
    if text in _SCALARS:
        return _SCALARS[text]
    if text.startswith("["):
        return Shape(Form.LIST, element=_plain(text[1:-1]), atomic=True)
    if text.startswith("{"):
        return Shape(Form.MAP, element=_plain(text[1:-1]))
    return ANY if text == "object" else named(text)


def of_open_api(schema: Mapping[str, Any]) -> Shape:
    """The shape a CRD's `openAPIV3Schema` describes, its x-kubernetes extensions included."""
    if schema.get("x-kubernetes-embedded-resource"):
        return ANY
    match schema.get("type"):
        case "object":
            return _open_api_object(schema)
        case "array":
            return _open_api_list(schema)
        case "string":
            return _SCALARS["str"]
        case "integer":
            return _SCALARS["int"]
        case "number":
            return _SCALARS["float"]
        case "boolean":
            return _SCALARS["bool"]
    return ANY


def _open_api_object(schema: Mapping[str, Any]) -> Shape:
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    more = schema.get("additionalProperties")
    properties: Mapping[str, Any] = schema.get("properties") or {}
    element = ANY if schema.get("x-kubernetes-preserve-unknown-fields") or more is True else None
    if isinstance(more, Mapping):
        element = of_open_api(more)
    if not properties:
        return (
            Shape(Form.MAP, element=element, atomic=atomic) if element else Shape(Form.STRUCT, atomic=atomic)
        )
    return Shape(
        Form.STRUCT,
        build=lambda: {name: of_open_api(sub) for name, sub in properties.items()},
        element=element,
        atomic=atomic,
    )


def _open_api_list(schema: Mapping[str, Any]) -> Shape:
    items = schema.get("items")
    element = of_open_api(items) if isinstance(items, Mapping) else ANY
    kind = schema.get("x-kubernetes-list-type", "atomic")
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if kind == "map" else ()
    return Shape(Form.LIST, element=element, keys=keys, unique=kind == "set", atomic=kind == "atomic")


_META: Final = ("apiVersion", "kind")


def custom(version: Mapping[str, Any]) -> Shape:
    """The shape of a whole custom resource: its schema plus apiVersion, kind and metadata."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {
        "x-kubernetes-preserve-unknown-fields": True
    }
    body = of_open_api({"type": "object", **schema})
    fields = dict(body.fields)
    fields |= dict.fromkeys(_META, _SCALARS["str"])
    fields["metadata"] = named("V1ObjectMeta")
    return Shape(Form.STRUCT, build=lambda: fields, element=body.element)
