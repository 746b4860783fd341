"""A real Prometheus, a `/metrics` endpoint for it to scrape, a history for it to read, and a liar in its place."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """`prometheus`, or a program that lies beside it."""
    given = os.environ.get("TIDEGATE_PROMETHEUS")
    beside = str(Path(given).parent / name) if given else None
    found = (given if name == "prometheus" else shutil.which(beside or name)) or shutil.which(name)
    assert found, f"{name} is not installed; it comes with prometheus (apt install prometheus)"
    return found


def until(condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    """Look until something is true; fail with its name."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)


@dataclass
class PrometheusServer:
    """One Prometheus process on a free port."""

    folder: Path
    config: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "prometheus.yml").write_text(self.config)
        binary = program("prometheus")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--web.enable-lifecycle",
                    "--storage.tsdb.retention.time=10y",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        until(self.ready, "prometheus is ready")

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def reload(self, config: str) -> None:
        """Another configuration, without losing data."""
        (self.folder / "prometheus.yml").write_text(config)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/-/reload")
        assert connection.getresponse().status == 200
        connection.close()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None


NO_TARGETS = "global: {scrape_interval: 1s}\n"


History = Mapping[str, Sequence[tuple[float, float | str]]]
"""Series as `name{labels}` -> its samples (seconds, value)."""


def write_history(folder: Path, history: History) -> None:
    """Blocks in Prometheus's own format, made by its own tool, so that every sample is exactly known."""
    text = folder.with_suffix(".om")
    text.parent.mkdir(parents=True, exist_ok=True)
    families: dict[str, list[str]] = {}
    for series, samples in history.items():
        families.setdefault(series.split("{")[0], []).extend(f"{series} {v} {at:.3f}" for at, v in samples)
    body = [line for name, rows in families.items() for line in (f"# TYPE {name} unknown", *rows)]
    text.write_text("\n".join([*body, "# EOF", ""]))
    subprocess.run(
        [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")],
        check=True,
        capture_output=True,
        timeout=60,
    )


@dataclass
class Exposition:
    """A `/metrics` endpoint whose text the test sets."""

    text: str = ""
    scrapes: int = 0
    server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.server_port}"


def serve(exposition: Exposition) -> None:
    """Start serving on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exposition.scrapes += 1
            body = exposition.text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    exposition.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=exposition.server.serve_forever, args=(0.05,), daemon=True).start()


@dataclass
class Liar:
    """An HTTP server that answers every query with what the test set."""

    status: int = 200
    body: bytes = b""
    declared: int | None = None
    """Content-Length to announce, when it is to be a lie."""
    hang: threading.Event = field(default_factory=threading.Event)
    """Set it to let hanging requests go."""
    hanging: bool = False
    requests: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_port}"


def lie(liar: Liar) -> None:
    """Start answering on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            liar.requests.append(self.path)
            if liar.hanging:
                liar.hang.wait(30)
                return
            self.send_response(liar.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", "60")
            length = len(liar.body) if liar.declared is None else liar.declared
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(liar.body)

        def log_message(self, *_: object) -> None:
            return

    liar.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=liar.server.serve_forever, args=(0.05,), daemon=True).start()
