"""How to reach an API server: kubeconfig or in-cluster, by the official client's pool and tokens.

Nothing else of the client is used, and for the plainest kubeconfigs not even that: its models cost 4-8 times the
CPU and refuse objects of newer clusters.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.adapters.targets.kubernetes.kubeconfig import simple
from tidegate.errors import SpecError

if TYPE_CHECKING:
    from urllib3 import PoolManager

_POOL_SIZE = 32
_IMPORTING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection pool, the server's address, and the headers that say who we are (tokens refreshed)."""

    host: str
    pool: PoolManager
    headers: Callable[[], dict[str, str]]


def connect(kubeconfig: Path | None, context: str | None, account: str | None = None) -> Connection:
    """Open (lazily) what kubeconfig and context name; without either, inside a pod, its service account.

    With `account` every request is made as that user; there is no way back to our own rights. Raises `SpecError`
    when the configuration cannot be used.
    """
    found = _connect(kubeconfig, context)
    if account is None:
        return found
    return replace(found, headers=lambda: {**found.headers(), "Impersonate-User": account})


def _connect(kubeconfig: Path | None, context: str | None) -> Connection:
    inside = kubeconfig is None and context is None and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    found = None if inside else simple(kubeconfig, context, _POOL_SIZE)
    if found is not None:
        host, pool, token = found
        return Connection(host, pool, lambda: {"authorization": f"Bearer {token}"} if token else {})
    return _by_client(kubeconfig, context, inside)


def _by_client(kubeconfig: Path | None, context: str | None, inside: bool) -> Connection:
    with _IMPORTING:  # its lazy modules are half there for a second thread
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config import ConfigException, incluster_config, kube_config
    from yaml import YAMLError

    configuration = Configuration(connection_pool_maxsize=_POOL_SIZE, retries=0)
    named = context or (kubeconfig and str(kubeconfig)) or "the default kubeconfig"
    try:
        if inside:
            load_pod: Any = incluster_config.load_incluster_config
            load_pod(client_configuration=configuration)
        else:
            load_file: Any = kube_config.load_kube_config
            load_file(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, OSError, YAMLError, KeyError, TypeError) as error:
        where = kubeconfig or "$KUBECONFIG or ~/.kube/config"
        raise SpecError(
            f"{named}: cannot be used: {error}; check {where} and the target's context"
        ) from error
    client = ApiClient(configuration)
    return Connection(
        configuration.host.rstrip("/"), client.rest_client.pool_manager, _headers(configuration)
    )


def _headers(configuration: Any) -> Callable[[], dict[str, str]]:
    def current() -> dict[str, str]:
        settings = configuration.auth_settings().values()
        return {s["key"]: s["value"] for s in settings if s["in"] == "header" and s["value"]}

    return current
