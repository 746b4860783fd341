"""Objects by name: read, list, server-side apply, delete. Many at once, eight in flight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tidegate.adapters.targets.kubernetes.kinds import Kind, Kinds
from tidegate.adapters.targets.kubernetes.rest import Request, Rest, unfenced
from tidegate.domain.fields import MANAGER
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.errors import Conflict, NotFound

_IN_FLIGHT, _LIST_FROM = 8, 8
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"

Listing = list[Manifest]
T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The function of every item, in order, eight at a time; after an error no further one is begun."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(_IN_FLIGHT, len(items))) as pool:
        begun = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in begun]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class Objects:
    """The objects of one cluster, with one namespace for those that name none."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.rest, self.namespace = rest, namespace
        self.kinds = Kinds(rest)

    def namespace_of(self, name: Ref) -> str:
        """The namespace it is in: ours where none is named, none for a cluster-scoped kind."""
        return (name.namespace or self.namespace) if self.kinds.of(name).namespaced else ""

    def placed(self, manifest: Manifest) -> Manifest:
        """The manifest with its namespace filled in, or dropped for a cluster-scoped kind."""
        meta = {k: v for k, v in manifest["metadata"].items() if k != "namespace"}
        namespace = self.namespace_of(ref(manifest))
        return {**manifest, "metadata": {**meta, "namespace": namespace} if namespace else meta}

    def path(self, name: Ref) -> str:
        """URL path of one object."""
        return self.kinds.of(name).path(self.namespace_of(name), name.name)

    def read(self, refs: Iterable[Ref]) -> dict[Ref, Manifest]:
        """Live objects by the ref they were asked by; one LIST instead of many GETs of a kind."""
        groups: dict[tuple[Kind, str], list[Ref]] = defaultdict(list)
        for name in refs:
            kind = self._kind_or_none(name)
            if kind is not None:
                groups[kind, self.namespace_of(name)].append(name)
        found: dict[Ref, Manifest] = {}
        singles = [name for names in groups.values() if len(names) < _LIST_FROM for name in names]
        lists = [(kind, ns, names) for (kind, ns), names in groups.items() if len(names) >= _LIST_FROM]
        for name, live in zip(singles, each(self._one, singles), strict=True):
            if live is not None:
                found[name] = live
        for listed in each(self._listed, lists):
            found.update(listed)
        return found

    def _kind_or_none(self, name: Ref) -> Kind | None:
        try:
            return self.kinds.of(name)
        except NotFound:
            return None  # a kind the cluster does not serve has no objects

    def _one(self, name: Ref) -> Manifest | None:
        return self.rest.get(self.path(name), str(name))

    def _listed(self, group: tuple[Kind, str, list[Ref]]) -> dict[Ref, Manifest]:
        kind, namespace, names = group
        by_name = {o["metadata"]["name"]: o for o in self._items(kind, names[0].kind, namespace, {})}
        return {name: by_name[name.name] for name in names if name.name in by_name}

    def list(
        self,
        group_version: str,
        kind: str,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | str = "",
    ) -> Listing:
        """Objects of a kind by labels (a mapping, or a selector as text); an empty namespace means all."""
        group, _, version = group_version.rpartition("/")
        found = self.kinds.of(Ref(group, kind, "", "", version=version))
        wanted = labels if isinstance(labels, str) else ",".join(f"{k}={v}" for k, v in labels.items())
        query = {"labelSelector": wanted} if wanted else {}
        return self._items(found, kind, self.namespace if namespace is None else namespace, query)

    def _items(self, kind: Kind, name: str, namespace: str, query: Mapping[str, str]) -> Listing:
        where = f"{kind.plural} of namespace {namespace}" if namespace else kind.plural
        api_version = f"{kind.group}/{kind.version}" if kind.group else kind.version
        items = self.rest.pages(kind.path(namespace), where, query)
        # List items carry neither apiVersion nor kind.
        return [{"apiVersion": api_version, "kind": name, **item} for item in items]

    def apply(
        self,
        manifest: Manifest,
        *,
        dry_run: bool = False,
        fence: Callable[[], None] = unfenced,
        extra: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Server-side apply by our field manager, forced; a second time it changes nothing."""
        query = {
            "fieldManager": MANAGER,
            "force": "true",
            **({"dryRun": "All"} if dry_run else {}),
            **(extra or {}),
        }
        name = ref(manifest)
        return self.rest.send(
            Request(
                "PATCH",
                self.path(name),
                str(name),
                query,
                manifest,
                APPLY,
                secret=name.kind == "Secret",
                fence=fence,
            )
        )

    def create(
        self, manifest: Manifest, *, dry_run: bool = False, fence: Callable[[], None] = unfenced
    ) -> Manifest:
        """A new object; `Conflict` when there is one of that name. A dry run is made under a name nobody has."""
        name = ref(manifest)
        body = _anonymous(manifest) if dry_run else manifest
        query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
        path = self.path(name).rpartition("/")[0]
        secret = name.kind == "Secret"
        request = Request(
            "POST", path, str(name), query, body, secret=secret, fence=fence, repeatable=dry_run
        )
        return self.rest.send(request)

    def patch(
        self, live: Manifest, change: Mapping[str, Any], *, fence: Callable[[], None] = unfenced
    ) -> Manifest:
        """A merge patch of exactly the object seen; `Conflict` when it has changed since, or is another one."""
        name, meta = ref(live), live["metadata"]
        seen = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        body = {**change, "metadata": {**change.get("metadata", {}), **seen}}
        secret = name.kind == "Secret"
        query = {"fieldManager": MANAGER}
        return self.rest.send(
            Request("PATCH", self.path(name), str(name), query, body, MERGE, secret=secret, fence=fence)
        )

    def delete(self, name: Ref, *, uid: str, fence: Callable[[], None] = unfenced) -> None:
        """Delete exactly the object with that uid, dependents first; gone or replaced is fine too."""
        body: dict[str, Any] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Foreground" if self.namespace_of(name) else "Background",
            "preconditions": {"uid": uid},
        }
        request = Request(
            "DELETE", self.path(name), str(name), {}, body, fence=fence, secret=name.kind == "Secret"
        )
        try:
            self.rest.send(request)
        except (NotFound, Conflict):
            return


def _anonymous(manifest: Manifest) -> Manifest:
    meta = {k: v for k, v in manifest["metadata"].items() if k != "name"}
    return {**manifest, "metadata": {**meta, "generateName": f"{manifest['metadata']['name'][:57]}-"}}
