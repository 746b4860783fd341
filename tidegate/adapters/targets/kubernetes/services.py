"""HTTP to a service through the API server's own proxy: no route into the cluster is needed."""

from __future__ import annotations

from urllib.parse import quote

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.adapters.targets.kubernetes.rest import Request


def get_service(
    objects: Objects, namespace: str, service: str, port: int | str, path: str, timeout: float
) -> tuple[int, bytes]:
    """Status and body of a GET. Without a ready pod the API server itself answers 503."""
    name = quote(f"{service}:{port}", safe=":")
    where = f"/api/v1/namespaces/{quote(namespace, safe='')}/services/{name}/proxy"
    request = Request(
        "GET", f"{where}/{path.lstrip('/')}", f"Service {namespace}/{service}", timeout=min(timeout, 20.0)
    )
    answer = objects.rest.raw(request)
    return answer.status, answer.body
