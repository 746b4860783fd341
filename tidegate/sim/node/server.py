"""The agent's HTTP server: `/containerLogs/<namespace>/<pod>/<container>` for the API server, and `/healthz`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from tidegate.sim.node import logs
from tidegate.sim.node.container import Container

FindContainer = Callable[[str, str, str], Container | None]
"""(namespace, pod, container) → the container; an empty container name means the only or first one."""

_MAX_REQUEST = 16 << 10
_REQUEST_SECONDS = 10.0


class KubeletServer:
    """Serves on 127.0.0.1; runs on the agent's loop. A real API server asks by HTTPS only: give it `tls`."""

    def __init__(self, find: FindContainer, tls: ssl.SSLContext | None = None) -> None:
        self._find = find
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, limit=_MAX_REQUEST, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_SECONDS)
            method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            await self._answer(method, target, writer)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, method: str, target: str, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(target)
        parts = [unquote(part) for part in url.path.split("/") if part]
        if method != "GET":
            await _text(writer, "501 Not Implemented", "only GET is served here")
        elif parts == ["healthz"]:
            await _text(writer, "200 OK", "ok")
        elif len(parts) == 4 and parts[0] == "containerLogs":
            query = {k: v[-1] for k, v in parse_qs(url.query).items()}
            await self._logs(parts[1], parts[2], parts[3], query, writer)
        else:
            await _text(writer, "404 Not Found", "404 page not found")

    async def _logs(
        self, namespace: str, pod: str, name: str, query: Mapping[str, str], writer: asyncio.StreamWriter
    ) -> None:
        container = self._find(namespace, pod, name)
        if container is None:
            told = f"container {name} of pod {namespace}/{pod} is not here"
            await _text(writer, "404 Not Found", told)
            return
        previous = query.get("previous") in ("true", "1")
        path = container.previous_log if previous else container.log
        if not path.exists():
            which = "previous terminated container" if previous else "container"
            await _text(writer, "400 Bad Request", f'{which} "{name}" in pod "{pod}" has no logs yet')
            return
        lines = query.get("tailLines", "")
        start = logs.offset_of_tail(path, int(lines) if lines.isdigit() else None)
        follow = query.get("follow") in ("true", "1") and not previous
        left = int(query["limitBytes"]) if query.get("limitBytes", "").isdigit() else None
        writer.write(_head("200 OK", "Transfer-Encoding: chunked"))
        await writer.drain()
        run = container.state.restarts

        def alive() -> bool:
            return container.alive and container.state.restarts == run and not writer.is_closing()

        async for chunk in logs.stream(path, start, follow=follow, alive=alive):
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk)
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b"")
            await writer.drain()
            if left is not None and left <= 0:
                break
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _head(status: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/plain; charset=utf-8", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _text(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = text.encode()
    writer.write(_head(status, f"Content-Length: {len(body)}") + body)
    await writer.drain()
