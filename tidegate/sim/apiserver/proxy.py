"""Through to others: pod logs from the pod's node, HTTP to pods and to what stands behind a Service."""

from __future__ import annotations

import http.client
import random
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from tidegate.sim.apiserver import failures
from tidegate.sim.apiserver.failures import ApiError
from tidegate.sim.apiserver.http import Response
from tidegate.sim.apiserver.registry import Registry
from tidegate.sim.apiserver.resources import NODES, PODS, SERVICES, SLICES, Resource
from tidegate.sim.apiserver.routes import Request, Target

Object = dict[str, Any]
CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 25.0
"""A backend that says nothing for so long is given up, except while a log is followed."""
_HOP_BY_HOP: Final = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
    ]
)
_LOG_QUERY: Final = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "insecureSkipTLSVerifyBackend",
)


def log(registry: Registry, request: Request, place: Target) -> Response:
    """`pods/NAME/log`, from the kubelet API of the pod's node."""
    pod = _object(registry, PODS, place.namespace, place.name, "pods")
    container = _container(pod, request.query.get("container", ""))
    node_name = (pod.get("spec") or {}).get("nodeName", "")
    if not node_name:
        raise failures.bad_request(f"pod {place.name} does not have a host assigned")
    host, port = node_address(registry, node_name)
    query = urlencode([(k, request.query[k]) for k in _LOG_QUERY if k in request.query])
    path = f"/containerLogs/{quote(place.namespace)}/{quote(place.name)}/{quote(container)}?{query}"
    answer, connection = _ask(host, port, "GET", path.rstrip("?"), {}, b"")
    if answer.status >= 400:
        text = answer.read().decode(errors="replace").strip()
        connection.close()
        raise failures.bad_request(text) if answer.status == 400 else _kubelet_error(answer.status, text)
    if request.flag("follow") and connection.sock is not None:
        connection.sock.settimeout(None)
    return Response(200, content_type="text/plain", chunks=_chunks(answer, connection))


def _kubelet_error(status: int, text: str) -> ApiError:
    return ApiError(
        status, "NotFound" if status == 404 else "InternalError", text or "the node agent refused"
    )


def _object(registry: Registry, key: tuple[str, str], namespace: str, name: str, plural: str) -> Object:
    stored = registry.store.get(key, (namespace, name))
    if stored is None:
        raise failures.not_found(key[0], plural, name)
    return stored.object


def _container(pod: Object, asked: str) -> str:
    spec = pod.get("spec") or {}
    names = [c["name"] for c in spec.get("containers") or ()]
    others = [c["name"] for c in spec.get("initContainers") or ()]
    pod_name = pod["metadata"]["name"]
    if asked:
        if asked not in names + others:
            raise failures.bad_request(f"container {asked} is not valid for pod {pod_name}")
        return asked
    if len(names) == 1 and not others:
        return str(names[0])
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in names:
        return str(default)
    listed = f"[{' '.join(names)}]" + (
        f" or one of the init containers: [{' '.join(others)}]" if others else ""
    )
    raise failures.bad_request(
        f"a container name must be specified for pod {pod_name}, choose one of: {listed}"
    )


def node_address(registry: Registry, name: str) -> tuple[str, int]:
    """Where the node's agent listens, from the Node object. Raises 404, 503."""
    status = _object(registry, NODES, "", name, "nodes").get("status") or {}
    addresses = {a.get("type"): a.get("address") for a in status.get("addresses") or ()}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    host = addresses.get("InternalIP")
    if not host or not port:
        raise _unavailable(f'no preferred addresses found for node "{name}"; is its node agent running?')
    return str(host), int(port)


def _unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def _ask(
    host: str, port: int, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(SILENCE_SECONDS)
        connection.request(method, path, body=body or None, headers=headers)
        return connection.getresponse(), connection
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _unavailable(f"error trying to reach service: dial tcp {host}:{port}: {error}") from error


def _chunks(answer: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> Iterator[bytes]:
    try:
        while data := answer.read1(65536):
            yield data
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


def forward(registry: Registry, request: Request, resource: Resource, place: Target) -> Response:
    """`services/[scheme:]NAME[:PORT]/proxy/PATH` and `pods/NAME[:PORT]/proxy/PATH`."""
    scheme, name, port = _address_parts(place.name)
    if scheme == "https":
        raise failures.not_implemented("the https proxy")
    if resource.key == SERVICES:
        host, number = _service_endpoint(registry, place.namespace, name, port)
    else:
        host, number = _pod_endpoint(registry, place.namespace, name, port)
    path = "/" + quote(place.rest, safe="/%:@!$&'()*+,;=~-._")
    if request.query:
        path += "?" + request.target.partition("?")[2]
    headers = {k: v for k, v in request.headers.items() if k not in _HOP_BY_HOP}
    headers["host"] = f"{name}.{place.namespace}"
    answer, connection = _ask(host, number, request.method, path, headers, request.body)
    kept = {
        k: v
        for k, v in answer.getheaders()
        if k.lower() not in {*_HOP_BY_HOP, "content-type", "date", "server"}
    }
    kind = answer.getheader("content-type") or "application/octet-stream"
    if answer.getheader("content-length") is not None or request.method == "HEAD":
        try:
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(f"error trying to reach service: {error}") from error
        finally:
            connection.close()
        return Response(answer.status, body, kind, kept)
    return Response(answer.status, content_type=kind, headers=kept, chunks=_chunks(answer, connection))


def _address_parts(text: str) -> tuple[str, str, str]:
    """(scheme, name, port) of `name`, `name:port` or `scheme:name:port`."""
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return "", parts[0], parts[1] if len(parts) == 2 else ""


def _service_endpoint(registry: Registry, namespace: str, name: str, port: str) -> tuple[str, int]:
    service = _object(registry, SERVICES, namespace, name, "services")
    ports = (service.get("spec") or {}).get("ports") or []
    if not port and len(ports) != 1:
        raise _unavailable(f'no port specified for service "{name}" with several ports')
    wanted = next((p for p in ports if not port or port in (p.get("name"), str(p["port"]))), None)
    if wanted is None:
        raise _unavailable(f'no service port "{port}" found for service "{name}"')
    found = []
    for _, stored in registry.store.select(SLICES, namespace):
        labels = stored.object["metadata"].get("labels") or {}
        if labels.get("kubernetes.io/service-name") == name:
            found += _ready(stored.object, wanted.get("name", ""))
    if not found:
        raise _unavailable(f'no endpoints available for service "{name}"')
    return random.choice(found)  # noqa: S311 - spreading load, not a secret


def _ready(slice_: Object, port_name: str) -> list[tuple[str, int]]:
    numbers = [
        p["port"] for p in slice_.get("ports") or () if p.get("name", "") == port_name and p.get("port")
    ]
    return [
        (endpoint["addresses"][0], int(number))
        for endpoint in slice_.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True) is not False and endpoint.get("addresses")
        for number in numbers
    ]


def _pod_endpoint(registry: Registry, namespace: str, name: str, port: str) -> tuple[str, int]:
    pod = _object(registry, PODS, namespace, name, "pods")
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise _unavailable(f"address not allowed: pod {name} has no IP yet")
    declared = [p for c in (pod.get("spec") or {}).get("containers") or () for p in c.get("ports") or ()]
    for item in declared:
        if port and port == item.get("name"):
            return address, int(item["containerPort"])
    if not port:
        return address, int(declared[0]["containerPort"]) if declared else 80
    if not port.isdigit():
        raise failures.bad_request(f'pod "{name}" has no port named "{port}"')
    return address, int(port)
