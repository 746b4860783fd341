"""HTTP/1.1 on the standard library: one thread per connection, keep-alive, streamed answers in chunks.

Threads suit us: a watch is a blocking loop, the store is one lock, and there are dozens of connections, not thousands.
"""

from __future__ import annotations

import contextlib
import json
import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tidegate.sim.apiserver.failures import ApiError
from tidegate.sim.apiserver.routes import Request
from tidegate.sim.apiserver.store import dump

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Response:
    """What goes back: a body at once, or chunks as they come (an empty chunk sends nothing)."""

    code: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    chunks: Iterator[bytes] | None = None
    drop: bool = False
    """Close the connection without an answer (fault injection)."""


def as_json(value: Any, code: int = 200) -> Response:
    return Response(code, dump(value) + b"\n")


def of_error(error: ApiError) -> Response:
    response = as_json(error.status(), error.code)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


Application = Callable[[Request], Response]


class Server(ThreadingHTTPServer):
    """The listening socket and its connections, all of which `stop` closes."""

    daemon_threads = True
    request_queue_size = 256
    block_on_close = False

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("connection of %s ended with an error", client_address, exc_info=True)

    def close_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


_REPEATED = frozenset({"impersonate-group"})
"""Headers of which every value counts: they come as lines."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Server

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is ours."""

    def handle_expect_100(self) -> bool:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers |= {name: "\n".join(self.headers.get_all(name, [])) for name in headers.keys() & _REPEATED}
        request = Request.parse(self.command, self.path, headers, self._body(headers))
        try:
            response = self.server.application(request)
        except ApiError as error:
            response = of_error(error)
        except Exception as error:
            log.exception("%s %s failed", self.command, self.path)
            response = of_error(ApiError(500, "InternalError", f"Internal error occurred: {error!r}"))
        with contextlib.suppress(ConnectionError, BrokenPipeError, ValueError):
            self._answer(response)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunked_body()
        length = int(headers.get("content-length") or 0)
        return self.rfile.read(length) if length else b""

    def _chunked_body(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, response: Response) -> None:
        if response.drop:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        lines = [f"HTTP/1.1 {response.code} {self.responses.get(response.code, ('',))[0]}"]
        lines += [f"Content-Type: {response.content_type}", "Cache-Control: no-cache, private"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        lines += [f"Warning: 299 - {json.dumps(text, ensure_ascii=False)}" for text in response.warnings]
        if response.chunks is None:
            lines.append(f"Content-Length: {len(response.body)}")
        else:
            lines.append("Transfer-Encoding: chunked")
        head = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"
        if response.chunks is not None:
            self._stream(head, response.chunks)
            return
        self.wfile.write(head + (b"" if self.command == "HEAD" else response.body))
        self.wfile.flush()

    def _stream(self, head: bytes, chunks: Iterator[bytes]) -> None:
        self.wfile.write(head)
        self.wfile.flush()
        try:
            for chunk in chunks:
                if chunk:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                elif self._client_left():
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except Exception:
            self.close_connection = True
            raise
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _client_left(self) -> bool:
        """True when the client closed its side; it sends nothing else while it watches."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True
