"""The API server as a thing to start and stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from tidegate.sim.apiserver import decoding
from tidegate.sim.apiserver.access_log import AccessLog
from tidegate.sim.apiserver.endpoints import Endpoints
from tidegate.sim.apiserver.failures import ApiError
from tidegate.sim.apiserver.faults import Faults, failure
from tidegate.sim.apiserver.garbage import GarbageCollector
from tidegate.sim.apiserver.http import Response, Server, as_json, of_error
from tidegate.sim.apiserver.registry import Registry
from tidegate.sim.apiserver.resources import Catalog
from tidegate.sim.apiserver.routes import Request
from tidegate.sim.apiserver.store import Store

FAULTS_PATH = "/_tidegate/faults"


class ApiServer:
    """An API server on 127.0.0.1. Use it as a context manager, or call `start` and `stop`.

    `port` 0 takes a free one. With `data`, objects are kept in that folder and survive a kill. With `access_log`, every
    request is a JSON line in that file.
    """

    def __init__(self, port: int = 0, data: Path | None = None, access_log: Path | None = None) -> None:
        self.faults = Faults()
        """Rules that make requests fail; see `tidegate.sim.apiserver.faults`."""
        self.on_request: Callable[[str, str, int, str], None] | None = None
        """Called after each request with (method, path, status, user agent); status 0: dropped."""
        self.store = Store(data)
        self.registry = Registry(self.store, Catalog())
        self._endpoints = Endpoints(self.registry, lambda: self.url.removeprefix("http://"))
        self._log = AccessLog(access_log) if access_log is not None else None
        self._garbage = GarbageCollector(self.registry)
        self._server = Server(port, self._handle)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="apiserver", daemon=True
        )
        self._stopped = False

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> ApiServer:
        self._garbage.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket and every connection; idempotent."""
        if self._stopped:
            return
        self._stopped = True
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self.store.close()
        self._server.close_connections()
        self._server.server_close()
        if self._garbage.is_started:
            self._garbage.join()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> ApiServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def write_kubeconfig(self, path: Path, *, namespace: str = "default") -> Path:
        """A kubeconfig that points here, for kubectl and the clients."""
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: tidegate\n"
            f"clusters: [{{name: tidegate, cluster: {{server: '{self.url}'}}}}]\n"
            "users: [{name: tidegate, user: {}}]\n"
            "contexts: [{name: tidegate, context: "
            f"{{cluster: tidegate, user: tidegate, namespace: {namespace}}}}}]\n",
            encoding="utf-8",
        )
        return path

    def _handle(self, request: Request) -> Response:
        if request.path == FAULTS_PATH:
            data = decoding.parse(request.body, "application/json") if request.body else None
            return as_json(self.faults.serve(request.method, data))
        response = self._respond(request)
        status = 0 if response.drop else response.code
        if self._log is not None:
            self._log.write(request, status)
        if self.on_request is not None:
            self.on_request(request.method, request.path, status, request.user_agent)
        return response

    def _respond(self, request: Request) -> Response:
        fault = self.faults.take(request.method, request.target, request.user_agent)
        if fault is not None:
            time.sleep(fault.delay if fault.drop != "stream" else 0)
            if fault.drop == "before":
                return Response(drop=True)
            if fault.status:
                return of_error(failure(fault))
        try:
            response = self._endpoints(request)
        except ApiError as error:
            response = of_error(error)
        if fault is not None and fault.drop == "after":
            response.drop = True
        if fault is not None and fault.drop == "stream" and response.chunks is not None:
            response.chunks = broken_off(response.chunks, fault.delay)
        return response


def broken_off(chunks: Iterator[bytes], seconds: float) -> Iterator[bytes]:
    """The stream until its time has come, then a connection that just ends."""
    end = time.monotonic() + seconds
    for chunk in chunks:
        if time.monotonic() >= end:
            raise ConnectionAbortedError("injected fault: the stream breaks off")
        yield chunk
