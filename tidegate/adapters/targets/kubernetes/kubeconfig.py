"""Kubeconfigs that need no more than an address, a CA and a token, read without the official client.

Its import costs 250 ms and 30 MiB, more than the whole of `tidegate plan` besides. Everything else in a kubeconfig
(client certificates, exec plug-ins, OIDC, proxies, several files) is left to it.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate import yaml_reader
from tidegate.errors import SpecError

if TYPE_CHECKING:
    from urllib3 import PoolManager

_CLUSTER = {"server", "certificate-authority-data", "certificate-authority", "extensions"}
_USER = {"token"}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def simple(
    kubeconfig: Path | None, context: str | None, pool_size: int
) -> tuple[str, PoolManager, str] | None:
    """(address, pool, token or empty) of a context; None when anything in it asks for the official client."""
    path = kubeconfig or _default()
    if path is None or any(os.environ.get(name) or os.environ.get(name.lower()) for name in _PROXIES):
        return None
    try:
        data = yaml_reader.read_file(path)[0].data
        found = _named(data, "contexts", context or data["current-context"])
        cluster = _named(data, "clusters", found["cluster"])
        user = _named(data, "users", found["user"]) if found.get("user") else {}
        if set(cluster) - _CLUSTER or set(user) - _USER:
            return None
        return cluster["server"].rstrip("/"), _pool(cluster, path, pool_size), user.get("token") or ""
    except (SpecError, LookupError, TypeError, AttributeError, ValueError, OSError):
        return None  # the client says what is wrong with it


def _default() -> Path | None:
    named = os.environ.get("KUBECONFIG", "")
    if os.pathsep in named:
        return None
    return Path(named).expanduser() if named else Path.home() / ".kube" / "config"


def _named(data: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """The one entry of that name; what it holds is under the singular of its kind."""
    (item,) = [item for item in data[kind] if item["name"] == name]
    held: dict[str, Any] = item[kind.removesuffix("s")] or {}
    return held


def _pool(cluster: dict[str, Any], path: Path, size: int) -> PoolManager:
    from urllib3 import PoolManager

    trust: dict[str, Any] = {}
    if encoded := cluster.get("certificate-authority-data"):
        try:
            trust["ca_cert_data"] = base64.b64decode(encoded, validate=True).decode()
        except binascii.Error as error:
            raise ValueError("certificate-authority-data is not base64") from error
    elif file := cluster.get("certificate-authority"):
        trust["ca_certs"] = str((path.parent / file).resolve(strict=True))
    return PoolManager(maxsize=size, cert_reqs="CERT_REQUIRED", **trust)
