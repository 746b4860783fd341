"""From a request to a verb and back: resource endpoints, their subresources, discovery."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from tidegate.sim.apiserver import (
    access,
    advice,
    decoding,
    discovery,
    failures,
    go_json,
    proxy,
    scale,
    selectors,
    tables,
    watch,
)
from tidegate.sim.apiserver.deletion import DeleteOptions, delete
from tidegate.sim.apiserver.failures import ApiError
from tidegate.sim.apiserver.http import Response, as_json
from tidegate.sim.apiserver.registry import Options, Registry, Written
from tidegate.sim.apiserver.resources import Resource
from tidegate.sim.apiserver.routes import Request, Target, target
from tidegate.sim.apiserver.store import Expired, Name, Stored, dump

Object = dict[str, Any]
WATCH_SECONDS: Final = 1800.0
_HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz", "/healthz/ping"})


class Endpoints:
    """The application behind the HTTP server."""

    def __init__(self, registry: Registry, address: Callable[[], str]) -> None:
        self.registry = registry
        self._address = address

    def __call__(self, request: Request) -> Response:
        place = target(request.path)
        if place is None:
            return self._apart_from_resources(request)
        resource = self.registry.catalog.find(place.group, place.version, place.plural)
        if resource is None:
            if place.group in self.registry.catalog.groups():
                raise failures.no_such_path()
            return not_served()
        if not resource.namespaced and place.namespace:
            return not_served()
        return self._resource(request, resource, place)

    # everything that is no resource

    def _apart_from_resources(self, request: Request) -> Response:
        path, catalog = request.path.rstrip("/") or "/", self.registry.catalog
        if path in _HEALTH:
            return Response(200, b"ok", "text/plain; charset=utf-8")
        aggregated = (
            "g=apidiscovery.k8s.io;v=v2;" in request.accept and "as=APIGroupDiscoveryList" in request.accept
        )
        match path.strip("/").split("/"):
            case ["version"]:
                return as_json(discovery.VERSION)
            case ["api" | "apis" as root] if aggregated:
                body = dump(discovery.aggregated(catalog, core=root == "api"))
                return Response(200, body, discovery.AGGREGATED)
            case ["api"]:
                return as_json(discovery.core_versions(self._address()))
            case ["apis"]:
                return as_json(discovery.group_list(catalog))
            case ["api", version]:
                return or_not_served(discovery.resource_list(catalog, "", version))
            case ["apis", group]:
                return or_not_served(discovery.group(catalog, group))
            case ["apis", group, version]:
                return or_not_served(discovery.resource_list(catalog, group, version))
            case ["openapi", "v2"]:
                return Response(200, *discovery.open_api_v2(request.accept))
            case ["openapi", "v3"]:
                return as_json(discovery.open_api_index(catalog))
            case ["openapi", "v3", "api", version]:
                return or_not_served(discovery.open_api(catalog, "", version))
            case ["openapi", "v3", "apis", group, version]:
                return or_not_served(discovery.open_api(catalog, group, version))
        return not_served()

    # resources

    def _resource(self, request: Request, resource: Resource, place: Target) -> Response:
        access.check_request(self.registry.store, request, resource, place)
        if not place.name:
            return self._collection(request, resource, place)
        if place.subresource:
            return self._subresource(request, resource, place)
        match request.method:
            case "GET" | "HEAD" if place.watch or request.flag("watch"):
                return self._watch(request, resource, place)
            case "GET" | "HEAD":
                return self._get(request, resource, place)
            case "PUT" | "PATCH":
                return self._write(request, resource, place, "")
            case "DELETE":
                return self._delete(request, resource, place)
        raise failures.method_not_allowed()

    def _collection(self, request: Request, resource: Resource, place: Target) -> Response:
        match request.method:
            case "GET" | "HEAD" if "list" not in resource.verbs:
                raise failures.method_not_allowed()
            case "GET" | "HEAD" if place.watch or request.flag("watch"):
                return self._watch(request, resource, place)
            case "GET" | "HEAD":
                return self._list(request, resource, place)
            case "POST" if place.namespace or not resource.namespaced:
                return self._create(request, resource, place)
            case "DELETE":
                return self._delete_all(request, resource, place)
        raise failures.method_not_allowed()

    def _get(self, request: Request, resource: Resource, place: Target) -> Response:
        stored = self.registry.find(resource, place.namespace, place.name)
        return self._shown(request, resource, stored)

    def _shown(self, request: Request, resource: Resource, stored: Stored, code: int = 200) -> Response:
        if tables.wanted(request.accept):
            return as_json(
                tables.of_objects(resource, [stored.object], request.query, stored.object["metadata"]), code
            )
        return Response(code, stored.body + b"\n")

    def _list(self, request: Request, resource: Resource, place: Target) -> Response:
        query = request.query
        matches = selectors.of_request(
            query.get("labelSelector", ""), query.get("fieldSelector", ""), resource.kind
        )
        with self.registry.store.lock:
            rv = self._list_version(query)
            found = self.registry.store.select(resource.key, place.namespace)
        after = _continuation(query.get("continue", ""))
        if after is not None:
            rv = after[0]
            found = [item for item in self._then(resource, place, rv) if item[0] > after[1]]
        chosen = [(name, stored) for name, stored in found if matches(stored.object)]
        metadata: Object = {"resourceVersion": str(rv)}
        limit = request.number("limit")
        if 0 < limit < len(chosen):
            metadata["continue"] = _token(rv, chosen[limit - 1][0])
            if not (query.get("labelSelector") or query.get("fieldSelector")):
                metadata["remainingItemCount"] = len(chosen) - limit
            chosen = chosen[:limit]
        shown = [self.registry.shown(resource, stored) for _, stored in chosen]
        if tables.wanted(request.accept):
            return as_json(tables.of_objects(resource, [s.object for s in shown], query, metadata))
        return Response(200, list_body(resource, shown, metadata))

    def _then(self, resource: Resource, place: Target, rv: int) -> list[tuple[Name, Stored]]:
        """The collection as the first page saw it. Raises 410."""
        try:
            return self.registry.store.select_at(resource.key, place.namespace, rv)
        except Expired as error:
            why = "The provided continue parameter is too old to display a consistent list result."
            raise failures.expired(why) from error

    def _list_version(self, query: dict[str, str]) -> int:
        store, asked = self.registry.store, query.get("resourceVersion", "")
        _check_match(asked, query.get("resourceVersionMatch", ""))
        if asked and not asked.isdigit():
            raise failures.bad_request(f"invalid resource version: {_no_version(asked)}")
        wanted = int(asked) if asked.isdigit() else 0
        if wanted > store.rv:
            raise too_new(wanted, store.rv)
        if query.get("resourceVersionMatch") == "Exact" and wanted < store.rv:
            raise failures.expired(
                f"The resourceVersion for the provided list is too old: {wanted} ({store.rv})"
            )
        return store.rv

    def _watch(self, request: Request, resource: Resource, place: Target) -> Response:
        query = request.query
        asked = query.get("resourceVersion", "")
        if asked and not asked.isdigit():
            raise failures.internal(_no_version(asked))
        since = int(asked) if asked not in ("", "0") else None
        if since is not None and since > self.registry.store.rv:
            raise too_new(since, self.registry.store.rv)
        found = watch.WatchRequest(
            resource=resource,
            namespace=place.namespace,
            name=place.name,
            matches=selectors.of_request(
                query.get("labelSelector", ""), query.get("fieldSelector", ""), resource.kind
            ),
            since=None if query.get("sendInitialEvents") == "true" else since,
            timeout_seconds=request.number("timeoutSeconds") or WATCH_SECONDS,
            bookmarks=request.flag("allowWatchBookmarks"),
            initial_list=query.get("sendInitialEvents") == "true",
        )
        as_table = tables.watch_row if tables.wanted(request.accept) else None
        chunks = watch.stream(self.registry, found)
        if as_table is not None:
            chunks = (as_table(resource, line, query) for line in chunks)
        return Response(200, content_type="application/json", chunks=chunks)

    def options(self, request: Request, subresource: str) -> Options:
        dry = request.query.get("dryRun")
        if dry is not None and dry != "All":
            causes = [failures.field_unsupported("dryRun", [dry], ("All",))]
            kind = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")
            raise failures.invalid("meta.k8s.io", kind, "", causes)
        content_type = request.headers.get("content-type", "application/json")
        is_apply = request.method == "PATCH" and "apply-patch" in content_type
        return Options(
            manager=request.query.get("fieldManager", "") if is_apply else request.manager,
            dry_run=request.dry_run,
            force=request.flag("force"),
            validation=request.query.get("fieldValidation") or "Warn",
            subresource=subresource,
            content_type=content_type,
            caller=access.Caller.of(request.headers),
        )

    def body(self, request: Request, resource: Resource, noted: decoding.Duplicates | None = None) -> Any:
        content_type = request.headers.get("content-type", "application/json")
        return decoding.parse(request.body, content_type, resource.kind, noted)

    def _create(self, request: Request, resource: Resource, place: Target) -> Response:
        options = self.options(request, "")
        data = self.body(request, resource, options.duplicates)
        if "list" not in resource.verbs:
            return as_json(access.review(self.registry.store, options.caller, data), 201)
        return self._written(
            request, resource, self.registry.create(resource, place.namespace, data, options), options
        )

    def _write(self, request: Request, resource: Resource, place: Target, subresource: str) -> Response:
        options = self.options(request, subresource)
        data = self.body(request, resource, options.duplicates)
        verb = self.registry.update if request.method == "PUT" else self.registry.patch
        return self._written(
            request, resource, verb(resource, place.namespace, place.name, data, options), options
        )

    def _written(self, request: Request, resource: Resource, written: Written, options: Options) -> Response:
        response = self._shown(request, resource, written.stored, written.code)
        response.warnings = list(options.warnings.lines)
        return response

    def _delete(self, request: Request, resource: Resource, place: Target) -> Response:
        options = self._delete_options(request, resource)
        code, answer = delete(self.registry, resource, (place.namespace, place.name), options)
        response = (
            Response(code, answer.body + b"\n") if isinstance(answer, Stored) else as_json(answer, code)
        )
        if resource.kind == "Job" and not options.propagation:
            response.warnings.append(advice.ORPHANED_PODS)
        return response

    def _delete_options(self, request: Request, resource: Resource) -> DeleteOptions:
        return DeleteOptions.read(request.query, self.body(request, resource) if request.body else None)

    def _delete_all(self, request: Request, resource: Resource, place: Target) -> Response:
        if "deletecollection" not in resource.verbs:
            raise failures.method_not_allowed()
        options, query = self._delete_options(request, resource), request.query
        matches = selectors.of_request(
            query.get("labelSelector", ""), query.get("fieldSelector", ""), resource.kind
        )
        found = [i for i in self.registry.store.select(resource.key, place.namespace) if matches(i[1].object)]
        for name, _ in found:
            try:
                delete(self.registry, resource, name, options)
            except ApiError as error:
                if error.code != 404:
                    raise
        shown = [self.registry.shown(resource, stored) for _, stored in found]
        return Response(200, list_body(resource, shown, {"resourceVersion": str(self.registry.store.rv)}))

    def _subresource(self, request: Request, resource: Resource, place: Target) -> Response:
        name = place.subresource
        if name not in resource.subresources:
            if resource.kind == "Pod" and name in (
                "exec",
                "attach",
                "portforward",
                "ephemeralcontainers",
                "binding",
            ):
                raise failures.not_implemented(f"pods/{name}")
            raise failures.no_such_path()
        match name:
            case "finalize" if request.method == "PUT":
                return self._write(request, resource, place, name)
            case "status":
                if request.method in ("GET", "HEAD"):
                    return self._get(request, resource, place)
                if request.method in ("PUT", "PATCH"):
                    return self._write(request, resource, place, name)
            case "scale":
                return scale.serve(self, request, resource, place)
            case "log" if request.method == "GET":
                return proxy.log(self.registry, request, place)
            case "proxy":
                return proxy.forward(self.registry, request, resource, place)
            case "eviction" if request.method == "POST":
                delete(self.registry, resource, (place.namespace, place.name), DeleteOptions())
                return as_json(
                    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201
                )
        raise failures.method_not_allowed()


def list_body(resource: Resource, found: list[Stored], metadata: Object) -> bytes:
    """A List from the objects' own JSON; items of built-in lists carry no kind and apiVersion, as on a real server."""
    head = dump({"kind": resource.list_kind, "apiVersion": resource.group_version, "metadata": metadata})
    bodies = [stored.body for stored in found]
    if resource.custom is None:
        lead = len(dump({"kind": resource.kind, "apiVersion": resource.group_version})) - 1
        bodies = [b"{" + body[lead + 1 :] for body in bodies]
    return head[:-1] + b',"items":[' + b",".join(bodies) + b"]}\n"


def _token(rv: int, last: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([rv, *last]).encode()).decode()


def _no_version(asked: str) -> str:
    why = f'strconv.ParseUint: parsing "{asked}": invalid syntax'
    return f"resourceVersion: {failures.field_invalid('resourceVersion', asked, why).message}"


def _check_match(version: str, match: str) -> None:
    """Which `resourceVersionMatch` may be asked for with which version. Raises 422."""
    name = "resourceVersionMatch"
    if not match:
        return
    if not version:
        cause = failures.field_forbidden(name, f"{name} is forbidden unless resourceVersion is provided")
    elif match not in ("Exact", "NotOlderThan"):
        cause = failures.field_unsupported(name, match, ("Exact", "NotOlderThan", ""))
    elif match == "Exact" and version == "0":
        cause = failures.field_forbidden(name, f'{name} "exact" is forbidden for resourceVersion "0"')
    else:
        return
    raise failures.invalid("meta.k8s.io", "ListOptions", "", [cause])


def _continuation(token: str) -> tuple[int, tuple[str, str]] | None:
    if not token:
        return None
    try:
        text = base64.urlsafe_b64decode(token).decode("latin-1")
        rv, namespace, name = json.loads(text)
    except ValueError as error:
        why = go_json.words(error)
        raise failures.bad_request(f"invalid continue token: continue key is not valid: {why}") from error
    return rv, (namespace, name)


def too_new(asked: int, now: int) -> ApiError:
    message = f"Too large resource version: {asked}, current: {now}"
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    return ApiError(504, "Timeout", message, details={**details, "retryAfterSeconds": 1}, retry_after=1)


def not_served() -> Response:
    """An unknown path: plain text, as the real server answers."""
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")


def or_not_served(found: Object | None) -> Response:
    return as_json(found) if found is not None else not_served()
