"""Does it answer? An HTTP GET to a service (through the target, no route needed) or to any address."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidegate.domain.health import Health, HealthStatus
from tidegate.errors import OutsideError
from tidegate.spec import Duration

if TYPE_CHECKING:
    from tidegate.adapters.targets import Target

_ONE_TRY_SECONDS, _PAUSE_SECONDS, _MAX_BODY = 5.0, 0.3, 64 * 2**10
_NOT_YET = {502, 503, 504}


class Settings(BaseModel):
    """`verify: [{kind: http, url: "http://shop.shop.svc/healthz"}]`, or `service`, `port` and `path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    service: str | None = None
    """A service of the target's namespace."""
    port: int | str = 80
    path: str = "/"
    status: int = Field(default=200, ge=100, le=599)
    """The answer that passes; redirects are not followed."""
    timeout: Duration = timedelta(seconds=10)
    """How long it may take until the right answer comes; 502-504 and refused connections are asked again."""

    @model_validator(mode="after")
    def _one_address(self) -> Settings:
        if (self.url is None) == (self.service is None):
            raise ValueError("give either url, or service with port and path")
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError("url must start with http:// or https://")
        return self


class HttpCheck:
    """One GET, repeated only while the answer is "not yet"."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def verify(self, target: Target) -> Health:
        """Healthy when the status came in time; else Degraded with what came instead."""
        limit = self._settings.timeout.total_seconds()
        end = time.monotonic() + limit
        while True:
            left = end - time.monotonic()
            status, words = self._ask(target, min(_ONE_TRY_SECONDS, max(left, 0.5)))
            if status == self._settings.status:
                return Health(HealthStatus.Healthy, f"{self.address} answered {status}")
            if (status is not None and status not in _NOT_YET) or time.monotonic() + _PAUSE_SECONDS > end:
                break
            time.sleep(_PAUSE_SECONDS)
        expected = f"expected {self._settings.status} within {limit:g} s"
        seen = f"answered {status}" if status is not None else "did not answer"
        return Health(
            HealthStatus.Degraded, f"{self.address} {seen}, {expected}" + (f": {words}" if words else "")
        )

    @property
    def address(self) -> str:
        """What is asked, for people."""
        s = self._settings
        return s.url if s.url is not None else f"service {s.service}:{s.port}/{s.path.lstrip('/')}"

    def _ask(self, target: Target, timeout: float) -> tuple[int | None, str]:
        s = self._settings
        try:
            if s.service is not None:
                status, body = target.get_service(target.namespace, s.service, s.port, s.path, timeout)
                return status, _first_line(body)
            assert s.url is not None
            parts = urlsplit(s.url)
            inside = _in_cluster(parts)
            if inside is None:
                return _get(s.url, timeout)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            status, body = target.get_service(*inside, parts.port or 80, path, timeout)
            return status, _first_line(body)
        except OutsideError as error:
            return None, str(error)


def _in_cluster(parts: SplitResult) -> tuple[str, str] | None:
    """(namespace, service) of `name.namespace.svc[.cluster.local]`, None for other hosts."""
    labels = (parts.hostname or "").removesuffix(".").removesuffix(".cluster.local").split(".")
    if parts.scheme == "http" and len(labels) == 3 and labels[2] == "svc":
        return labels[1], labels[0]
    return None


def _get(url: str, timeout: float) -> tuple[int | None, str]:
    import urllib3

    try:
        with urllib3.PoolManager(retries=False) as pool:
            limits = urllib3.Timeout(total=timeout)
            answer = pool.request("GET", url, timeout=limits, redirect=False, preload_content=False)
            body = answer.read(_MAX_BODY)
            answer.close()
            return answer.status, _first_line(body)
    except urllib3.exceptions.HTTPError as error:
        return None, str(error)


def _first_line(body: bytes) -> str:
    text = body[:_MAX_BODY].decode(errors="replace").strip()
    return text.splitlines()[0][:200] if text else ""


def build(settings: Settings) -> HttpCheck:
    """The check of a stage."""
    return HttpCheck(settings)
