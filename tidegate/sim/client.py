"""The small REST client with which controllers, scheduler, node agent and proxies talk to any API server.

Raw JSON over one `urllib3` pool: no typed models, no discovery. It knows the kinds our controllers handle and
nothing else. Every request has a timeout; a watch is read by `tidegate.sim.informer`.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
import yaml

from tidegate.errors import Conflict, NotFound, OutsideError, Rejected, SpecError, Unknown, Unreachable

Object = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
SILENCE_SECONDS = 75.0
"""A watch that says nothing for longer than this (bookmarks come each minute) is a dead connection."""


class AlreadyExists(Conflict):
    """A create met an object of that name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server addresses it."""

    api: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return self.api.removeprefix("/apis/").removeprefix("/api/")

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The URL path; without `namespace` the whole cluster's collection."""
        parts = [self.api]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


PODS = Resource("/api/v1", "pods", "Pod")
SERVICES = Resource("/api/v1", "services", "Service")
NODES = Resource("/api/v1", "nodes", "Node", namespaced=False)
CONFIG_MAPS = Resource("/api/v1", "configmaps", "ConfigMap")
SECRETS = Resource("/api/v1", "secrets", "Secret")
NAMESPACES = Resource("/api/v1", "namespaces", "Namespace", namespaced=False)
EVENTS = Resource("/api/v1", "events", "Event")
CLAIMS = Resource("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("/api/v1", "persistentvolumes", "PersistentVolume", namespaced=False)
DEPLOYMENTS = Resource("/apis/apps/v1", "deployments", "Deployment")
REPLICA_SETS = Resource("/apis/apps/v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("/apis/apps/v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("/apis/apps/v1", "daemonsets", "DaemonSet")
REVISIONS = Resource("/apis/apps/v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("/apis/batch/v1", "jobs", "Job")
ENDPOINT_SLICES = Resource("/apis/discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
LEASES = Resource("/apis/coordination.k8s.io/v1", "leases", "Lease")


class Client:
    """A connection pool to one API server.

    `url` is `http(s)://host:port`; `headers` go with every request (authorization). Thread-safe.
    """

    def __init__(
        self,
        url: str,
        *,
        user_agent: str = "tidegate-sim",
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"User-Agent": user_agent, "Accept": JSON, **(headers or {})}
        extra: dict[str, Any] = {"ssl_context": ssl_context} if ssl_context else {}
        self._pool = urllib3.PoolManager(maxsize=24, retries=False, **extra)

    @classmethod
    def from_kubeconfig(
        cls, path: Path, *, context: str | None = None, user_agent: str = "tidegate-sim"
    ) -> Client:
        """A client for one context of a kubeconfig: token or client certificate, no exec plug-ins."""
        config = yaml.safe_load(path.read_text())
        chosen = _named(config, "contexts", context or config.get("current-context"))["context"]
        cluster = _named(config, "clusters", chosen["cluster"])["cluster"]
        user = _named(config, "users", chosen["user"])["user"] if chosen.get("user") else {}
        headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
        secure = cluster["server"].startswith("https:")
        return cls(
            cluster["server"],
            user_agent=user_agent,
            headers=headers,
            ssl_context=_ssl_context(cluster, user) if secure else None,
        )

    def with_agent(self, user_agent: str) -> Client:
        """The same server and pool under another User-Agent (the API server's access log tells them apart)."""
        other = object.__new__(Client)
        other.url, other._pool = self.url, self._pool
        other._headers = {**self._headers, "User-Agent": user_agent}
        return other

    def close(self) -> None:
        self._pool.clear()

    # -- requests --------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        timeout: float = READ_SECONDS,
    ) -> Any:
        """One request; the decoded JSON answer.

        Raises `NotFound`, `AlreadyExists`, `Conflict`, `Rejected`, `Unreachable`, or `Unknown` when a write was
        sent and no answer came.
        """
        url = self.url + path + ("?" + urlencode(query) if query else "")
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = content_type
        try:
            response = self._pool.request(
                method, url, body=data, headers=headers, timeout=urllib3.Timeout(CONNECT_SECONDS, timeout)
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise Unreachable(f"{self.url}: no connection: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            lost = f"{method} {path}: no answer: {error}"
            raise (Unreachable(lost) if method == "GET" else Unknown(lost)) from error
        return _answer(method, path, response.status, response.data, response.headers.get("Retry-After"))

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        found: Object = self.request("GET", resource.path(namespace, name))
        return found

    def list(
        self, resource: Resource, namespace: str | None = None, **query: Any
    ) -> tuple[list[Object], str]:
        """All objects (paged by 500) and the list's resourceVersion; items get kind and apiVersion."""
        items: list[Object] = []
        query = {"limit": 500, **query}
        while True:
            page = self.request("GET", resource.path(namespace), query=query)
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        for item in items:
            item.setdefault("kind", resource.kind)
            item.setdefault("apiVersion", resource.api_version)
        return items, str(metadata.get("resourceVersion", "0"))

    def create(self, resource: Resource, body: Object) -> Object:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        created: Object = self.request("POST", resource.path(body["metadata"].get("namespace")), body)
        return created

    def update(self, resource: Resource, body: Object, subresource: str = "") -> Object:
        """PUT with the body's resourceVersion: fails with `Conflict` when somebody wrote first."""
        meta = body["metadata"]
        path = resource.path(meta.get("namespace"), meta["name"], subresource)
        updated: Object = self.request("PUT", path, body)
        return updated

    def patch(
        self, resource: Resource, namespace: str | None, name: str, body: Object, subresource: str = ""
    ) -> Object:
        """JSON merge patch."""
        path = resource.path(namespace, name, subresource)
        patched: Object = self.request("PATCH", path, body, content_type=MERGE_PATCH)
        return patched

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> Object:
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if propagation:
            body["propagationPolicy"] = propagation
        answer: Object = self.request("DELETE", resource.path(namespace, name), body)
        return answer

    def open_watch(self, resource: Resource, namespace: str | None, query: Mapping[str, Any]) -> Watch:
        """An open watch; `Gone` of the list protocol arrives as an ERROR event or as `Rejected` with 410."""
        url = self.url + resource.path(namespace) + "?" + urlencode({"watch": "true", **query})
        try:
            response = self._pool.request(
                "GET",
                url,
                headers=self._headers,
                preload_content=False,
                timeout=urllib3.Timeout(CONNECT_SECONDS, SILENCE_SECONDS),
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{self.url}: watch of {resource.plural}: {error}") from error
        if response.status != 200:
            status, data = response.status, response.read(1 << 16)
            response.close()
            _answer("GET", resource.path(namespace), status, data, None)
        return Watch(response)


class Watch:
    """One open watch response: iterate for events, `close()` from any thread ends it."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[Object]:
        pending = b""
        try:
            for chunk in self._chunks():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unreachable(f"watch: the stream broke: {error}") from error
        finally:
            self._response.close()

    def _chunks(self) -> Iterator[bytes]:
        if getattr(self._response, "chunked", False):
            yield from self._response.stream(decode_content=False)
            return
        while chunk := self._response.read1(1 << 16):
            yield chunk

    def close(self) -> None:
        """Ends a blocking read in another thread."""
        try:
            self._response.shutdown()
        except (OSError, ValueError, RuntimeError):
            return


def timestamp(at: datetime | None = None) -> str:
    """`2026-01-02T03:04:05Z`, the form of metav1.Time."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """The form of metav1.MicroTime (leases, event times)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str | None) -> float:
    """Unix seconds of an API timestamp; 0 when there is none."""
    if not text:
        return 0.0
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _answer(method: str, path: str, status: int, data: bytes, retry_after: str | None) -> Any:
    if status < 300:
        return json.loads(data) if data else {}
    message, reason = _status(data)
    subject = f"{method} {path}: {message or status}"
    if status == 404:
        raise NotFound(subject)
    if status == 409:
        raise (AlreadyExists if reason == "AlreadyExists" else Conflict)(subject)
    if status in (429, 502, 503, 504):
        raise Unreachable(subject, retry_after=_number(retry_after))
    if status == 410:
        raise Gone(subject)
    raise Rejected(f"{subject} ({status})")


class Gone(OutsideError):
    """410: the resourceVersion is too old; list again."""


def _status(data: bytes) -> tuple[str, str]:
    try:
        body = json.loads(data)
        return str(body.get("message", "")), str(body.get("reason", ""))
    except (ValueError, AttributeError):
        return data[:300].decode("utf-8", "replace").strip(), ""


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _named(config: Mapping[str, Any], section: str, name: str | None) -> Any:
    for entry in config.get(section) or []:
        if entry.get("name") == name:
            return entry
    raise SpecError(f"kubeconfig: no entry {name!r} in {section}")


def _ssl_context(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=base64.b64decode(authority).decode() if authority else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if user.get("client-certificate"):
        context.load_cert_chain(user["client-certificate"], user.get("client-key"))
    elif user.get("client-certificate-data"):
        with tempfile.NamedTemporaryFile() as pem:
            for part in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(user[part]) + b"\n")
            pem.flush()
            context.load_cert_chain(pem.name)
    return context
