"""Raw JSON over the pool: deadlines, retries with a budget, errors in our words.

urllib3's own retries are off: the client library silently sleeps on 429 and repeats GETs.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class Listed:
    """The items of a LIST and the resource version they were all read at."""

    items: list[dict[str, Any]]
    version: str


@dataclass(frozen=True, slots=True)
class _Page:
    items: list[dict[str, Any]]
    token: str
    version: str
    restarted: bool = False
    """The token had expired: this is the first page again."""


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
        yield from self.listed(path, subject, query).items

    def listed(self, path: str, subject: str, query: Mapping[str, str], *, repeatable: bool = True) -> Listed:
        """All pages of a LIST at once, with the version from which a watch goes on."""
        page = self._page(path, subject, query, "", repeatable)
        items = page.items
        while page.token:
            page = self._page(path, subject, query, page.token, repeatable)
            items = page.items if page.restarted else [*items, *page.items]
        return Listed(items, page.version)

    def _page(self, path: str, subject: str, query: Mapping[str, str], token: str, repeatable: bool) -> _Page:
        paged = {**query, "limit": str(_PAGE)} | ({"continue": token} if token else {})
        request = Request("GET", path, subject, paged, secret="/secrets" in path, repeatable=repeatable)

        def once() -> dict[str, Any] | None:
            answer = self._once(request)
            return None if answer.status == 410 and token else self._object(answer, subject, request.secret)

        page = self._retrying(once, request)
        if page is None:
            return replace(self._page(path, subject, query, "", repeatable), restarted=True)
        meta = page.get("metadata") or {}
        return _Page(page.get("items") or [], meta.get("continue") or "", meta.get("resourceVersion") or "")

    def send(self, request: Request) -> dict[str, Any]:
        """The object answered. Raises `NotFound`, `Conflict`, `Rejected`, `Unreachable`."""
        return self._retrying(
            lambda: self._object(self._once(request), request.subject, request.secret), request
        )

    def raw(self, request: Request) -> Answer:
        """Any answer, also a "no"; only broken connections are errors, retried when `repeatable`."""
        return self._retrying(lambda: self._once(request), request)

    def stream(self, request: Request) -> Stream:
        """The lines of an answer that goes on and on (a watch); `request.timeout` is the longest silence."""
        answer = self._opened(request, self._current())
        if answer.status == 401:
            answer.close()
            answer = self._opened(request, self._renewed())
        if answer.status >= 400:
            with _translated(request, "the API server"):
                body = _read(answer, request)
            raise failure(request.subject, answer.status, answer.headers, body, secret=request.secret)
        return Stream(answer, request)

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
        response = self._opened(request, to)
        with _translated(request, to.host):
            return Answer(response.status, response.headers, _read(response, request))

    def _opened(self, request: Request, to: Connection) -> Any:
        """The answer with its body still to be read."""
        from urllib3 import Timeout

        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = {"User-Agent": "tidegate", "Accept": _JSON, **to.headers()}
        body = None
        if request.body is not None:
            body = json.dumps(request.body, separators=(",", ":"), ensure_ascii=False).encode()
            headers["Content-Type"] = request.content_type
        with _translated(request, to.host):
            return to.pool.request(
                request.method,
                f"{to.host}{request.path}{query}",
                body=body,
                headers=headers,
                timeout=Timeout(connect=min(CONNECT_SECONDS, request.timeout), read=request.timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )

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


class Stream:
    """One JSON object a line, as they come. `close` may be called from another thread and ends the reading."""

    def __init__(self, response: Any, request: Request) -> None:
        self._response, self._request = response, request
        self._closed = False

    def __iter__(self) -> Generator[dict[str, Any]]:
        rest = b""
        try:
            with _translated(self._request, "the API server"):
                for chunk in self._response.stream(2**16, decode_content=True):
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > _MAX_ANSWER:
                        raise Unreachable(f"{self._request.subject}: the answer is too large")
                    yield from map(json.loads, filter(None, lines))
        except (OutsideError, ValueError):
            if not self._closed:
                raise
        finally:
            self._response.close()

    def close(self) -> None:
        """Stop reading; whoever iterates comes to the end."""
        self._closed = True
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # it has ended by itself
            self._response.shutdown()


@contextlib.contextmanager
def _translated(request: Request, host: str) -> Iterator[None]:
    """The library's exceptions in our words."""
    from urllib3.exceptions import HTTPError, NewConnectionError
    from urllib3.exceptions import TimeoutError as TooSlow

    try:
        yield
    except NewConnectionError as error:
        raise Transient(f"{request.subject}: {host} cannot be reached: {_cause(error)}") from error
    except TooSlow as error:
        raise Unreachable(f"{request.subject}: {host} did not answer within {request.timeout:g} s") from error
    except HTTPError as error:
        raise Transient(f"{request.subject}: {host} cannot be reached: {_cause(error)}") from error


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
