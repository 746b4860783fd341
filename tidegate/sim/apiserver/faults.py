"""Faults on demand: rules that make the server fail the way real ones do. For tests; the API below is our own.

In process: `server.faults.add(Fault(...))`. Over HTTP:
`GET /_tidegate/faults` lists the rules, `PUT` replaces them with
a JSON list, `POST` adds one, `DELETE` removes all. Fields as in `Fault`, camelCase is not used.
"""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

from tidegate.sim.apiserver.failures import ApiError, bad_request


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to matching requests. The first rule that matches acts; `count` of them, then never again."""

    method: str = ".*"
    """Regular expression on the whole method."""
    path: str = ".*"
    """Regular expression searched in the path with its query."""
    status: int = 0
    """Answer with this code instead of doing anything; 0: do not."""
    message: str = ""
    retry_after: int | None = None
    """Seconds in the `Retry-After` header."""
    delay: float = 0.0
    """Seconds to wait before anything else."""
    drop: str = ""
    """`before`: close the connection, nothing is done. `after`: do it, then close without an answer.
    `stream`: begin to answer, break off after `delay` seconds (for watches and logs)."""
    count: int | None = 1
    """How often; None: always."""
    user_agent: str = ".*"
    """Regular expression searched in the user agent."""


_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Faults:
    """The rules now in force, in order."""

    def __init__(self) -> None:
        self._rules: list[list[Any]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        for text in (fault.method, fault.path, fault.user_agent):
            re.compile(text)
        with self._lock:
            self._rules.append([fault, fault.count])

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[dict[str, Any]]:
        with self._lock:
            return [{**asdict(fault), "count": left} for fault, left in self._rules]

    def take(self, method: str, target: str, user_agent: str = "") -> Fault | None:
        """The rule for this request, counted down."""
        with self._lock:
            for rule in self._rules:
                found: Fault = rule[0]
                left: int | None = rule[1]
                if left == 0 or not _matches(found, method, target, user_agent):
                    continue
                if left is not None:
                    rule[1] = left - 1
                return found
        return None

    def serve(self, method: str, data: Any) -> list[dict[str, Any]]:
        """The HTTP endpoint."""
        match method:
            case "PUT":
                rules = [read(item) for item in data]
                self.clear()
                for rule in rules:
                    self.add(rule)
            case "POST":
                self.add(read(data))
            case "DELETE":
                self.clear()
        return self.rules()


def _matches(fault: Fault, method: str, target: str, user_agent: str) -> bool:
    return (
        re.fullmatch(fault.method, method) is not None
        and re.search(fault.path, target) is not None
        and re.search(fault.user_agent, user_agent) is not None
    )


def read(data: Any) -> Fault:
    """A rule from JSON. Raises 400 for fields that are none of its own."""
    known = {f.name for f in fields(Fault)}
    if not isinstance(data, dict) or data.keys() - known:
        raise bad_request(f"a fault has the fields {', '.join(sorted(known))}")
    return Fault(**data)


def failure(fault: Fault) -> ApiError:
    message = fault.message or f"injected fault: {fault.status}"
    return ApiError(fault.status, _REASONS.get(fault.status, ""), message, retry_after=fault.retry_after)
