"""The verbs on objects: create, get, update, patch, apply. Each is read, decide, write under the store's lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tidegate.sim.apiserver import advice, decoding, definitions, failures, immutability, strategy, validation
from tidegate.sim.apiserver import patch as patching
from tidegate.sim.apiserver.access import Ask, Caller, check, check_grant
from tidegate.sim.apiserver.apply import Apply, apply, check_typed
from tidegate.sim.apiserver.decoding import Duplicates, Unfit, Warnings
from tidegate.sim.apiserver.failures import ApiError, Cause
from tidegate.sim.apiserver.ownership import UPDATE, Owner, Owners, after_update, taken_over, write
from tidegate.sim.apiserver.resources import CRDS, NAMESPACES, Catalog, Resource
from tidegate.sim.apiserver.schema import Shape, custom, named
from tidegate.sim.apiserver.store import Name, Store, Stored, clone
from tidegate.sim.apiserver.trees import body_of, namespace_is_busy, ordered, same

Object = dict[str, Any]


_ONLY_UNDER_VERSION = frozenset({"Lease"})
"""Kinds that may not be replaced without saying which version one has read."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a write is to be done: the query parameters and who asks."""

    manager: str = ""
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    subresource: str = ""
    content_type: str = "application/json"
    caller: Caller | None = None
    warnings: Warnings = field(default_factory=Warnings)
    duplicates: Duplicates = field(default_factory=Duplicates)


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a write."""

    code: int
    stored: Stored


class Registry:
    """All objects behind their verbs."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self.store = store
        self.catalog = catalog
        self._shapes: dict[int, Shape] = {}
        for _, stored in store.select(CRDS):
            definitions.serve(catalog, stored.object)
        self._ensure_namespaces()

    def _ensure_namespaces(self) -> None:
        for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
            if self.store.get(NAMESPACES, ("", name)) is None:
                resource = self.catalog.find("", "v1", "namespaces")
                assert resource is not None
                self.create(resource, "", {"metadata": {"name": name}}, Options(manager="kube-apiserver"))

    def shape(self, resource: Resource) -> Shape:
        if resource.custom is None:
            return named(resource.model)
        mark = id(resource.custom)
        if mark not in self._shapes:
            self._shapes[mark] = custom(resource.custom)
        return self._shapes[mark]

    # reading

    def find(self, resource: Resource, namespace: str, name: str) -> Stored:
        """The object as this version shows it. Raises 404."""
        stored = self.store.get(resource.key, (namespace, name))
        if stored is None:
            raise failures.not_found(resource.group, resource.plural, name)
        return self.shown(resource, stored)

    def shown(self, resource: Resource, stored: Stored) -> Stored:
        """The same object under the requested apiVersion (conversion strategy None)."""
        if resource.custom is None or stored.object.get("apiVersion") == resource.group_version:
            return stored
        rest = {k: v for k, v in stored.object.items() if k not in ("kind", "apiVersion")}
        return Stored({"kind": resource.kind, "apiVersion": resource.group_version, **rest}, stored.rv)

    # writing

    def decode(self, resource: Resource, data: Any, options: Options) -> Object:
        """The object a body is. Raises 400."""
        if another := self._another_kind(resource, data):
            said = f"{_kind_said(resource, data)} cannot be handled as a {resource.kind}"
            raise failures.bad_request(f"{said}: {another}")
        duplicate = options.duplicates.paths(data)
        obj = clone(decoding.check_identity(resource, data))
        try:
            return self._typed(resource, obj, duplicate, options)
        except Unfit as why:
            raise decoding.not_handled(resource, str(why)) from why

    def _typed(self, resource: Resource, obj: Object, duplicate: list[str], options: Options) -> Object:
        shape = self.shape(resource)
        if resource.custom is None:
            decoding.check_types(resource, shape, obj)
        else:
            decoding.check_types(resource, shape.fields["metadata"], obj["metadata"])
        unknown = decoding.drop_unknown(shape, obj)
        decoding.settle_unknown(resource, unknown, duplicate, options.validation, options.warnings)
        return obj

    def _another_kind(self, resource: Resource, data: Any) -> str:
        """Why the body is no such object: a built-in kind is decoded as what it says it is, and does not convert."""
        if resource.custom is not None or not isinstance(data, dict):
            return ""
        group, _, version = str(data.get("apiVersion") or resource.group_version).rpartition("/")
        kind = str(data.get("kind") or resource.kind)
        if (group, version, kind) == (resource.group, resource.version, resource.kind):
            return ""
        known = self.catalog.by_kind(group, kind)
        if known is None or known.version != version:
            said = f"{group}/{version}" if group else version
            return (
                f'no kind "{kind}" is registered for version "{said}" in scheme "pkg/runtime/scheme.go:111"'
            )
        try:
            decoding.check_types(known, self.shape(known), data)
        except Unfit as why:
            return str(why)
        return f"converting ({version}.{kind}) to ({resource.group or 'core'}.{resource.kind}): unknown conversion"

    def create(self, resource: Resource, namespace: str, data: Any, options: Options) -> Written:
        """POST. Raises 400, 403, 404 (namespace), 409 (exists), 422."""
        obj = self.decode(resource, data, options)
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise failures.internal("resourceVersion should not be set on objects to be created")
        with self.store.lock:
            self._settle_name(resource, namespace, metadata)
            strategy.prepare_creation(resource, obj)
            return self._create(resource, obj, None, options)

    def _settle_name(self, resource: Resource, namespace: str, metadata: Object) -> None:
        self._settle_namespace(resource, namespace, metadata)
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                causes = [failures.field_required("metadata.name", "name or generateName is required")]
                raise failures.invalid(resource.group, resource.kind, "", causes)
            metadata["name"] = strategy.generated_name(str(metadata["generateName"]))
        there = self.store.get(resource.key, (namespace, metadata["name"]))
        if there is not None:
            dying = bool(there.object["metadata"].get("deletionTimestamp"))
            raise failures.already_exists(resource.group, resource.plural, metadata["name"], dying=dying)

    def _settle_namespace(self, resource: Resource, namespace: str, metadata: Object) -> None:
        if resource.custom is not None:
            self._refuse_withdrawn(resource)
        if not resource.namespaced:
            metadata.pop("namespace", None)
            return
        if metadata.get("namespace", namespace) != namespace:
            raise failures.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = namespace
        home = self.store.get(NAMESPACES, ("", namespace))
        if home is None:
            raise failures.not_found("", "namespaces", namespace)
        if home.object["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause(
                "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
            )
            raise failures.forbidden(resource.group, resource.plural, metadata.get("name", ""), why, [cause])

    def _refuse_withdrawn(self, resource: Resource) -> None:
        definition = self.store.get(CRDS, ("", f"{resource.plural}.{resource.group}"))
        if definition is not None and definition.object["metadata"].get("deletionTimestamp"):
            message = "create not allowed while custom resource definition is terminating"
            raise ApiError(
                405, "MethodNotAllowed", message, details={"group": resource.group, "kind": resource.plural}
            )

    def _create(self, resource: Resource, obj: Object, owners: Owners | None, options: Options) -> Written:
        shape = self.shape(resource)
        strategy.complete(resource, shape, obj)
        if owners is None:
            owners = self._owners_after(resource, None, obj, options)
        strategy.settle(resource, shape, self.store, obj, creating=True)
        self._validate(resource, obj)
        check_grant(self.store, resource, obj, options.caller)
        options.warnings.lines += advice.of(resource, obj)
        if resource.key == CRDS:
            obj["metadata"]["finalizers"] = [definitions.CLEANUP, *(obj["metadata"].get("finalizers") or ())]
            obj = definitions.established(obj, strategy.now())
        self._set_owners(obj, owners)
        obj = ordered(obj)
        name = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if options.dry_run:
            return Written(201, Stored(obj, 0))
        stored = self.store.put(resource.key, name, obj)
        if resource.key == CRDS:
            definitions.serve(self.catalog, obj)
        return Written(201, self.shown(resource, stored))

    def _owners_after(self, resource: Resource, old: Object | None, new: Object, options: Options) -> Owners:
        writer = Owner(options.manager, UPDATE, resource.group_version, options.subresource)
        owners = after_update(
            self.shape(resource), old, new, writer, has_status=resource.has_status, now=strategy.now()
        )
        return (
            taken_over(old, owners, writer) if options.subresource == "scale" and old is not None else owners
        )

    @staticmethod
    def _set_owners(obj: Object, owners: Owners) -> None:
        obj["metadata"].pop("managedFields", None)
        if owners:
            obj["metadata"]["managedFields"] = write(owners)

    @staticmethod
    def _causes(resource: Resource, obj: Object) -> list[Cause]:
        causes = validation.causes(resource, obj)
        if resource.custom is not None:
            causes += definitions.causes(strategy.open_api(resource), body_of(obj))
        return causes

    def _validate(self, resource: Resource, obj: Object) -> None:
        if causes := self._causes(resource, obj):
            raise failures.invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), causes)

    def update(self, resource: Resource, namespace: str, name: str, data: Any, options: Options) -> Written:
        """PUT. Raises 400, 404, 409, 422."""
        new = self.decode(resource, data, options)
        metadata = new["metadata"]
        if metadata.get("name", name) != name:
            raise failures.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if metadata.get("namespace", namespace) != namespace:
            raise failures.bad_request(
                f"the namespace of the object ({metadata['namespace']}) does not match the namespace on the URL "
                f"({namespace})"
            )
        with self.store.lock:
            old = self.find(resource, namespace, name)
            if resource.kind in _ONLY_UNDER_VERSION and not metadata.get("resourceVersion"):
                causes = [
                    failures.field_invalid("metadata.resourceVersion", 0, "must be specified for an update")
                ]
                raise failures.invalid(resource.group, resource.plural, name, causes)
            return self._update(resource, old, new, None, options)

    def _check_current(self, resource: Resource, old: Stored, metadata: Object) -> None:
        name, wanted = old.object["metadata"]["name"], metadata.get("resourceVersion")
        if wanted not in (None, "", str(old.rv)):
            raise failures.conflict(resource.group, resource.plural, name)
        uid, mine = metadata.get("uid"), old.object["metadata"]["uid"]
        if uid and uid != mine:
            place = "/".join(n for n in (resource.plural, old.object["metadata"].get("namespace"), name) if n)
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{place}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {mine}"
            )
            raise failures.conflict(resource.group, resource.plural, name, why)

    def _update(
        self, resource: Resource, old: Stored, new: Object, owners: Owners | None, options: Options
    ) -> Written:
        self._check_current(resource, old, new["metadata"])
        shape = self.shape(resource)
        claimed = new["metadata"].get("managedFields")
        new = clone(strategy.merge_written(resource, old.object, new, options.subresource))
        strategy.complete(resource, shape, new)
        strategy.settle(resource, shape, self.store, new, creating=False)
        strategy.bump_generation(resource, old.object, new)
        self._validate_update(resource, old.object, new)
        check_grant(self.store, resource, new, options.caller)
        if not options.subresource:
            options.warnings.lines += advice.of(resource, new)
        if resource.key == CRDS and options.subresource != "status":
            new = definitions.established(new, strategy.now())
        if owners is None:
            before = self._claimed(old.object, claimed)
            owners = self._owners_after(resource, before, new, options)
        if same(old.object, new, owners):
            return Written(200, old)
        self._set_owners(new, owners)
        new = ordered(new)
        if options.dry_run:
            return Written(200, Stored(new, old.rv))
        return Written(200, self.shown(resource, self._store_update(resource, old, new)))

    @staticmethod
    def _claimed(old: Object, claimed: Any) -> Object:
        """The old object with the managedFields the client sent, when it sent its own (`[{}]` empties them)."""
        mine = old["metadata"].get("managedFields")
        if not claimed or claimed == mine:
            return old
        return {**old, "metadata": {**old["metadata"], "managedFields": [c for c in claimed if c]}}

    def _validate_update(self, resource: Resource, old: Object, new: Object) -> None:
        name = new["metadata"]["name"]
        causes = self._causes(resource, new)
        causes += immutability.causes(resource.kind, old, new) if resource.custom is None else []
        if old["metadata"].get("deletionTimestamp"):
            before = old["metadata"].get("finalizers") or []
            grown = [f for f in new["metadata"].get("finalizers") or () if f not in before]
            if grown:
                shown = ", ".join(json.dumps(f) for f in grown)
                text = (
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{shown}}}"
                )
                causes += [failures.field_forbidden("metadata.finalizers", text)] * 2  # as often as there
        if causes:
            raise failures.invalid(resource.group, resource.kind, name, causes)

    def _store_update(self, resource: Resource, old: Stored, new: Object) -> Stored:
        metadata = new["metadata"]
        name: Name = (metadata.get("namespace", ""), metadata["name"])
        held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        if metadata.get("deletionTimestamp") and not held and not namespace_is_busy(resource, new):
            self.remove(resource, name)
            return Stored({**new, "metadata": {**metadata, "resourceVersion": str(old.rv)}}, old.rv)
        stored = self.store.put(resource.key, name, new)
        if resource.key == CRDS:
            definitions.serve(self.catalog, new)
        return stored

    def remove(self, resource: Resource, name: Name) -> Stored:
        """Take the object away now; answers its last state."""
        gone = self.store.delete(resource.key, name)
        if resource.key == CRDS:
            definitions.withdraw(self.catalog, gone.object)
        return gone

    def patch(self, resource: Resource, namespace: str, name: str, data: Any, options: Options) -> Written:
        """PATCH of any kind. Raises 400, 404, 409, 415, 422, and SSA's 500 for configurations that do not fit."""
        kind = options.content_type.partition(";")[0].strip()
        accepted = patching.BUILT_IN_PATCHES if resource.custom is None else patching.CUSTOM_PATCHES
        if kind == patching.STRATEGIC_PATCH and kind not in accepted:
            raise failures.unsupported_media_type(accepted)
        if kind not in accepted:
            raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
        if kind == patching.APPLY_PATCH:
            return self.apply(resource, namespace, name, data, options)
        if options.force:
            raise _bad_options("PatchOptions", "force", "may not be specified for non-apply patch")
        with self.store.lock:
            old = self.find(resource, namespace, name)
            patched = self._patched(kind, self.shape(resource), old.object, data)
            new = self._decode_patched(resource, patched, options)
            self._check_named(new["metadata"], namespace, name)
            uid = new["metadata"].get("uid")
            if uid and uid != old.object["metadata"]["uid"]:
                causes = [failures.field_invalid("metadata.uid", uid, immutability.IMMUTABLE)] * 2
                raise failures.invalid(resource.group, resource.kind, name, causes)
            return self._update(resource, old, new, None, options)

    def _decode_patched(self, resource: Resource, patched: Any, options: Options) -> Object:
        """What a patch made, if it still is an object of its kind. Raises 400, and 422 with the whole of it."""
        if why_not := self._another_kind(resource, patched):
            raise failures.invalid("", "", "", [failures.field_invalid("patch", patched, why_not)])
        obj = clone(decoding.check_identity(resource, patched))
        try:
            return self._typed(resource, obj, options.duplicates.paths(patched), options)
        except Unfit as why:
            raise failures.invalid("", "", "", [failures.field_invalid("patch", patched, str(why))]) from why

    @staticmethod
    def _patched(kind: str, shape: Shape, old: Object, data: Any) -> Any:
        if kind == patching.JSON_PATCH:
            return patching.json_patch(old, data)
        if not isinstance(data, dict):
            raise failures.bad_request(
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
            )
        if kind == patching.MERGE_PATCH:
            return patching.merge_patch(old, data)
        return patching.strategic_patch(shape, old, data)

    def apply(self, resource: Resource, namespace: str, name: str, data: Any, options: Options) -> Written:
        """Server-side apply."""
        if not options.manager:
            raise _bad_options("PatchOptions", "fieldManager", "is required for apply patch", required=True)
        config = decoding.check_identity(resource, data)
        metadata = config["metadata"]
        self._check_config(metadata, namespace, name)
        config = {**config, "metadata": {**metadata, "name": name}}
        if resource.namespaced:
            config["metadata"]["namespace"] = namespace
        if resource.key == NAMESPACES:
            # the label every namespace has belongs to whoever applies it, else a second apply would not be a no-op
            marks = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}
            config["metadata"]["labels"] = marks
        shape = self.shape(resource)
        check_typed(shape, config, resource.kind, str(metadata.get("namespace") or ""))
        with self.store.lock:
            return self._apply(resource, shape, namespace, name, config, options)

    @staticmethod
    def _check_config(metadata: Object, namespace: str, name: str) -> None:
        if metadata.get("managedFields") is not None:
            raise failures.bad_request("metadata.managedFields must be nil")
        Registry._check_named(metadata, namespace, name)

    @staticmethod
    def _check_named(metadata: Object, namespace: str, name: str) -> None:
        if metadata.get("name", name) != name:
            raise failures.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if metadata.get("namespace", namespace) != namespace:
            raise failures.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _apply(
        self, resource: Resource, shape: Shape, namespace: str, name: str, config: Object, options: Options
    ) -> Written:
        stored = self.store.get(resource.key, (namespace, name))
        live = self.shown(resource, stored) if stored is not None else None
        if live is None:
            if options.subresource:
                raise failures.not_found(resource.group, resource.plural, name)
            check(self.store, options.caller, Ask("create", resource.group, resource.plural, namespace, name))
        if live is not None:
            self._check_current(resource, live, config["metadata"])
        request = Apply(
            manager=options.manager,
            api_version=resource.group_version,
            force=options.force,
            subresource=options.subresource,
            has_status=resource.has_status,
            now=strategy.now(),
        )
        config["metadata"] = {
            k: v for k, v in config["metadata"].items() if k not in ("resourceVersion", "uid")
        }
        result = apply(shape, live.object if live is not None else None, config, request)
        if live is not None:
            return self._update(resource, live, result.object, result.owners, options)
        obj = clone(decoding.check_identity(resource, result.object))
        self._settle_namespace(resource, namespace, obj["metadata"])
        strategy.prepare_creation(resource, obj)
        return self._create(resource, obj, result.owners, options)

    def change(self, resource: Resource, name: Name, edit: Callable[[Object], None]) -> Stored | None:
        """A write of the server's own (garbage collection, deletion marks): no defaults, no owners, no checks."""
        with self.store.lock:
            stored = self.store.get(resource.key, name)
            if stored is None:
                return None
            new = clone(stored.object)
            edit(new)
            return stored if new == stored.object else self._store_update(resource, stored, new)


def _kind_said(resource: Resource, data: Object) -> str:
    version = str(data.get("apiVersion") or resource.group_version).rpartition("/")[2]
    return f'{data.get("kind") or resource.kind} in version "{version}"'


def _bad_options(kind: str, name: str, text: str, *, required: bool = False) -> ApiError:
    cause = failures.field_required(name, text) if required else failures.field_forbidden(name, text)
    return failures.invalid("meta.k8s.io", kind, "", [cause])
