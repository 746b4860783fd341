"""An HTTP proxy that breaks on command: put before a real server, it makes the faults clients must survive.

    with FaultProxy(server.address) as proxy:
        proxy.fail("drop_after_accept", path="/git-receive-pack")   # the next such request, once
        client(proxy.through(url))

Faults: `status:<code>[:<Retry-After>]`, `hang`, `delay:<seconds>`, `reset` (before the server sees anything),
`reset_mid:<bytes>` (in the answer's body), `drop_after_accept` (the server did it, the client never hears).
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "host"}


@dataclass
class Fault:
    """One rule: which requests, what happens, how often still."""

    action: str
    method: str
    path: str
    times: int

    def matches(self, method: str, path: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.path in path


class FaultProxy:
    """Forwards to `upstream` (`http://host:port`) and fails where told."""

    def __init__(self, upstream: str, port: int = 0) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str, str]] = []
        """(method, path, what was done: `ok` or the fault)"""
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def through(self, url: str) -> str:
        """The same URL, by way of this proxy."""
        parts = urlsplit(url)
        return self.address + parts.path + (f"?{parts.query}" if parts.query else "")

    def fail(self, action: str, *, method: str = "", path: str = "", times: int = 1) -> None:
        """The next `times` requests that match fail like this."""
        with self._lock:
            self.faults.append(Fault(action, method, path, times))

    def heal(self) -> None:
        """Everything works again; hanging requests are let go."""
        with self._lock:
            self.faults.clear()
        self.released.set()
        self.released = threading.Event()

    def fault_for(self, method: str, path: str) -> str:
        with self._lock:
            for fault in self.faults:
                if fault.matches(method, path):
                    fault.times -= 1
                    self.seen.append((method, path, fault.action))
                    return fault.action
            self.seen.append((method, path, "ok"))
        return ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError | http.client.HTTPException):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _any(self) -> None:
        proxy = self.server.proxy
        action, _, argument = proxy.fault_for(self.command, self.path).partition(":")
        match action:
            case "reset":
                return self._reset()
            case "hang":
                proxy.released.wait(120)
                return self._reset()
            case "delay":
                proxy.released.wait(float(argument))
            case "status":
                code, _, after = argument.partition(":")
                self._body()
                return self._answer(int(code), [("Retry-After", after)] if after else [], b"fault\n")
        status, headers, body = self._forward()
        if action == "drop_after_accept":
            return self._reset()
        if action == "reset_mid":
            self._answer(status, headers, body, cut=int(argument))
            return self._reset()
        return self._answer(status, headers, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any

    def _forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body=self._body() or None, headers=headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            return answer.status, kept, answer.read()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # RST instead of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
