"""One question to Prometheus and what came back: series, or why the reply is no evidence, or silence.

`prometheus-api-client` over a session of our own. Left to itself the library waits forever, retries on its
own terms, and drops everything but `data.result`; so the session brings timeouts, retries, and a hook that
reads `status`, `resultType`, `warnings` and `infos` of every reply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from requests import Response

_ERRNO = re.compile(r"\[Errno -?\d+\] ([A-Za-z][\w ,-]*)")
_LATER = frozenset({408, 425, 429})
_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a range reply: labels, and values by second."""

    labels: Mapping[str, str]
    points: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Reply:
    """What one range query brought."""

    series: tuple[Series, ...] = ()
    problem: str | None = None
    """It answered, and the answer is no evidence: for every check asked for."""
    silence: str | None = None
    """It did not answer; that says nothing about the past."""


@dataclass(slots=True)
class _Heard:
    """What the response hook saw."""

    status: int = 0
    body: Any = field(default=None)


class Client:
    """Range queries with a timeout; turns every fault into a `Reply`."""

    def __init__(self, url: str, *, timeout: float, headers: Mapping[str, str], ca: Path | None) -> None:
        from prometheus_api_client import PrometheusConnect
        from requests import Session
        from urllib3.util.retry import Retry

        session = Session()
        session.trust_env = False
        session.verify = str(ca) if ca else True
        session.headers.update({**headers})
        session.hooks["response"].append(self._hear)
        self._timeout = timeout
        self._heard = _Heard()
        parts = urlsplit(url)
        self._name = f"prometheus at {parts.hostname}{f':{parts.port}' if parts.port else ''}"
        retry = Retry(
            total=2,
            connect=2,
            read=False,
            status=1,
            status_forcelist=(502, 503, 504),
            backoff_factor=0.1,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        self._connection = PrometheusConnect(url.rstrip("/"), session=session, retry=retry)

    def close(self) -> None:
        """Give the connections back."""
        self._connection.close()

    def range(self, query: str, ends: range) -> Reply:
        """The query at every one of `ends` (whole seconds: the library rounds)."""
        from prometheus_api_client.exceptions import PrometheusApiClientException
        from requests.exceptions import RequestException

        self._heard = _Heard()
        try:
            result = self._connection.custom_query_range(
                query,
                datetime.fromtimestamp(ends[0], UTC),
                datetime.fromtimestamp(ends[-1], UTC),
                f"{ends.step}s",
                params={"timeout": f"{self._timeout:g}s"},
                timeout=self._timeout,
            )
        except RequestException as error:
            return self._broken(error)
        except (PrometheusApiClientException, KeyError, TypeError, ValueError, RecursionError):
            return self._refused()
        return self._read(result)

    def _hear(self, response: Response, **_: object) -> None:
        self._heard.status = response.status_code
        try:
            self._heard.body = response.json()
        except (ValueError, RecursionError):
            self._heard.body = None

    def _broken(self, error: Exception) -> Reply:
        """No reply, or half of one; a whole one that is not JSON ends here too."""
        from requests.exceptions import ConnectTimeout, JSONDecodeError, ReadTimeout

        if isinstance(error, JSONDecodeError):
            return self._refused()
        if isinstance(error, (ConnectTimeout, ReadTimeout)) or "timed out" in str(error):
            return Reply(silence=f"{self._name}: no answer within {self._timeout:g} s")
        found = _ERRNO.search(str(error))
        words = found[1].strip().lower() if found else "connection broke"
        return Reply(silence=f"{self._name}: {words}")

    def _refused(self) -> Reply:
        """A reply without a result: an error status, or something that is not Prometheus."""
        status, body = self._heard.status, self._heard.body
        words = f"{self._name} answered {status}"
        if isinstance(body, dict) and body.get("error"):
            words += f" {body.get('errorType', '')}: {body['error']}"
        elif status < 400:
            words += " with something that is no query result"
        words = words[:_LONGEST_WORDS]
        return Reply(silence=words) if status >= 500 or status in _LATER else Reply(problem=words)

    def _read(self, result: Any) -> Reply:
        """The series of a reply, unless anything about it is less than clean."""
        body = self._heard.body
        for kind in ("warnings", "infos"):
            if said := body.get(kind):
                return Reply(
                    problem=f"{self._name} adds {kind}: {'; '.join(map(str, said))}"[:_LONGEST_WORDS]
                )
        if body.get("status") != "success":
            return Reply(problem=f"{self._name} answered with status {body.get('status')!r}")
        if (kind := body["data"].get("resultType")) != "matrix":
            return Reply(problem=f"{self._name} answered with a {kind}, not a matrix")
        try:
            return Reply(series=tuple(_series(one) for one in result))
        except (KeyError, TypeError, ValueError, AttributeError):
            return Reply(problem=f"{self._name} answered with values that are no numbers")


def _series(one: Mapping[str, Any]) -> Series:
    """One series as we use it; a native histogram has no `values` and raises `KeyError`."""
    points = {round(float(at)): float(value) for at, value in one["values"]}
    return Series({str(k): str(v) for k, v in one["metric"].items()}, points)
