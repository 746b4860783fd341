"""An HTTP proxy that fails on purpose: one scripted fault per matching request, then the truth."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What happens to the next requests that fit.

    `status`: answered so; `reset`: closed before the request is read; `reset_after`: that many bytes of the
    body are passed on, then both sides are closed; `drop`: the request takes effect, its answer is lost;
    `flip`: one byte of the body is changed on its way; `headers`: set on the answer; `hang`: never
    answered.
    """

    method: str
    contains: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reset_after: int | None = None
    drop: bool = False
    flip: bool = False
    hang: bool = False
    change: Callable[[str], str] | None = None
    """Applied to `Docker-Content-Digest` of the answer."""


class Proxy:
    """Stands before `upstream` (`host:port`); `log` has every request as (method, path, status)."""

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str, int]] = []
        self.headers: list[dict[str, str]] = []
        self._stop = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                proxy._handle(self, upstream)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _next(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and fault.contains in path:
                fault.times -= 1
                return fault
        return None

    def _handle(self, request: BaseHTTPRequestHandler, upstream: str) -> None:
        fault = self._next(request.command, request.path)
        self.headers.append(dict(request.headers))
        length = int(request.headers.get("Content-Length") or 0)
        if fault and fault.hang:
            self._stop.wait(30)
            request.close_connection = True
            return
        if fault and fault.status is not None:
            request.rfile.read(length)
            self._answer(request, fault.status, fault.headers, b"")
            return
        if fault and fault.reset_after is not None:
            self._send_part(request, upstream, length, fault.reset_after)
            return
        body = request.rfile.read(length)
        if fault and fault.flip and body:
            body = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
        status, headers, answer = self._ask(request, upstream, body)
        if fault and fault.drop:
            self.log.append((request.command, request.path, 0))
            request.close_connection = True
            return
        if fault and fault.change:
            headers["Docker-Content-Digest"] = fault.change(headers["Docker-Content-Digest"])
        self._answer(request, status, headers, answer)

    def _ask(
        self, request: BaseHTTPRequestHandler, upstream: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(upstream, timeout=20)
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _send_part(self, request: BaseHTTPRequestHandler, upstream: str, length: int, part: int) -> None:
        """The upstream sees the beginning of the body and a broken connection; so does the client."""
        body = request.rfile.read(length)
        connection = http.client.HTTPConnection(upstream, timeout=20)
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body[:part])
        connection.close()
        self.log.append((request.command, request.path, 0))
        request.close_connection = True

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        self.log.append((request.command, request.path, status))
        request.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                request.send_header(name, value)
        if status != 204:
            length = headers.get("Content-Length") if request.command == "HEAD" else str(len(body))
            request.send_header("Content-Length", length or "0")
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
