"""Raw JSON over the pool: deadlines, retries with a budget, errors in our words.

urllib3's own retries are off: the client library silently sleeps on 429 and repeats GETs.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from tidegate.adapters.targets.kubernetes.connection import Connection
from tidegate.adapters.targets.kubernetes.failures import Transient, failure
from tidegate.errors import NotFound, OutsideError, Unreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

CONNECT_SECONDS, READ_SECONDS, TOTAL_SECONDS = 5.0, 10.0, 25.0
_TRIES, _WAIT_BUDGET, _PAGE = 5, 60.0, 500
_MAX_ANSWER = 256 * 2**20
_JSON = "application/json"

R = TypeVar("R")


def unfenced() -> None:
    """The fence of requests that change nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as data: repeatable."""

    method: str
    path: str
    subject: str
    """Names the object in errors."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = _JSON
    secret: bool = False
    """True when the answer may quote secret values."""
    fence: Callable[[], None] = unfenced
    """Called before every try; raises to stop a write."""
    timeout: float = READ_SECONDS
    repeatable: bool = True
    """False for a create: after a broken connection somebody must read back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body as they came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Rest:
    """The API server as functions; safe to use from many threads."""

    def __init__(
        self, connect: Callable[[], Connection], *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._connect, self._sleep = connect, sleep
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def get(self, path: str, subject: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """The object, or None when it is not there."""
        try:
            return self.send(Request("GET", path, subject, query or {}, secret="/secrets" in path))
        except NotFound:
            return None

    def pages(self, path: str, subject: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Items of a LIST, page by page; a `continue` token that expired starts over (410)."""
        items, token = self._page(path, subject, query, "")
        while token:
            more, token = self._page(path, subject, query, token)
            if more is None:
                items, token = self._page(path, subject, query, "")
            else:
                items = [*(items or []), *more]
        yield from items or []

    def _page(
        self, path: str, subject: str, query: Mapping[str, str], token: str
    ) -> tuple[list[dict[str, Any]] | None, str]:
        paged = {**query, "limit": str(_PAGE)} | ({"continue": token} if token else {})
        request = Request("GET", path, subject, paged, secret="/secrets" in path)

        def once() -> dict[str, Any] | None:
            answer = self._once(request)
            return None if answer.status == 410 and token else self._object(answer, subject, request.secret)

        page = self._retrying(once, request)
        if page is None:
            return None, ""
        return page.get("items") or [], (page.get("metadata") or {}).get("continue") or ""

    def send(self, request: Request) -> dict[str, Any]:
        """The object answered. Raises `NotFound`, `Conflict`, `Rejected`, `Unreachable`."""
        return self._retrying(
            lambda: self._object(self._once(request), request.subject, request.secret), request
        )

    def raw(self, request: Request) -> Answer:
        """Any answer, also a "no"; only broken connections are errors, retried when `repeatable`."""
        return self._retrying(lambda: self._once(request), request)

    # --- one try --------------------------------------------------------------------------------------------

    def _object(self, answer: Answer, subject: str, secret: bool) -> dict[str, Any]:
        if answer.status >= 400:
            raise failure(subject, answer.status, answer.headers, answer.body, secret=secret)
        try:
            parsed = json.loads(answer.body)
        except ValueError as error:
            raise Transient(
                f"{subject}: the API server's answer is not JSON; is there a proxy in between?"
            ) from error
        return parsed if isinstance(parsed, dict) else {"items": parsed}

    def _once(self, request: Request) -> Answer:
        request.fence()
        answer = self._exchange(request, self._current())
        if answer.status == 401:
            # Tokens expire in long runs: read the configuration again, once.
            request.fence()
            answer = self._exchange(request, self._renewed())
        return answer

    def _exchange(self, request: Request, to: Connection) -> Answer:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError, NewConnectionError
        from urllib3.exceptions import TimeoutError as TooSlow

        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = {"User-Agent": "tidegate", "Accept": _JSON, **to.headers()}
        body = None
        if request.body is not None:
            body = json.dumps(request.body, separators=(",", ":"), ensure_ascii=False).encode()
            headers["Content-Type"] = request.content_type
        try:
            response = to.pool.request(
                request.method,
                f"{to.host}{request.path}{query}",
                body=body,
                headers=headers,
                timeout=Timeout(connect=min(CONNECT_SECONDS, request.timeout), read=request.timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            return Answer(response.status, response.headers, _read(response, request))
        except NewConnectionError as error:
            raise Transient(f"{request.subject}: {to.host} cannot be reached: {_cause(error)}") from error
        except TooSlow as error:
            raise Unreachable(
                f"{request.subject}: {to.host} did not answer within {request.timeout:g} s"
            ) from error
        except HTTPError as error:
            raise Transient(f"{request.subject}: {to.host} cannot be reached: {_cause(error)}") from error

    def _current(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _renewed(self) -> Connection:
        with self._lock:
            self._connection = self._connect()
            return self._connection

    # --- many tries -----------------------------------------------------------------------------------------

    def _retrying(self, once: Callable[[], R], request: Request) -> R:
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay

        if not request.repeatable:
            return once()
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, Transient)),
            stop=stop_after_attempt(_TRIES) | stop_before_delay(_WAIT_BUDGET),
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(once)


def _pause(state: RetryCallState) -> float:
    """As long as the server asked; else 0.2 s doubling, half of it random."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unreachable) and error.retry_after is not None:
        return float(error.retry_after)
    base: float = 0.2 * 2 ** (state.attempt_number - 1)
    return base * (0.5 + random.random() / 2)  # noqa: S311


def _read(response: Any, request: Request) -> bytes:
    """The whole body within the total deadline; a read timeout alone would let a slow drip go on for ever."""
    end, parts, size = time.monotonic() + TOTAL_SECONDS, [], 0
    try:
        for chunk in response.stream(2**16, decode_content=True):
            parts.append(chunk)
            size += len(chunk)
            if time.monotonic() > end or size > _MAX_ANSWER:
                raise Unreachable(f"{request.subject}: the answer takes too long or is too large")
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return b"".join(parts)


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error)


def is_outside(error: BaseException) -> bool:
    """True for errors that concern one object, so that others may go on."""
    return isinstance(error, OutsideError) and not isinstance(error, Unreachable)
