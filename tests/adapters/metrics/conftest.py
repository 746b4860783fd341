"""A real Prometheus that scrapes a server the test controls, or reads a history the test wrote."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        binary = os.environ.get("TIDEGATE_PROMETHEUS") or shutil.which("prometheus")
        assert binary, "prometheus is not installed: apt install prometheus"
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


@pytest.fixture
def prometheus_in(tmp_path: Path) -> Iterator[Callable[[str], PrometheusServer]]:
    """Starts Prometheus servers with a configuration; all are stopped afterwards."""
    started: list[PrometheusServer] = []

    def start(config: str = NO_TARGETS) -> PrometheusServer:
        server = PrometheusServer(tmp_path / f"prometheus-{len(started)}", config)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


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
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")],
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


@pytest.fixture
def expositions() -> Iterator[Callable[[str], Exposition]]:
    """Starts `/metrics` endpoints; all are stopped afterwards."""
    started: list[Exposition] = []

    def start(text: str = "") -> Exposition:
        one = Exposition(text)
        serve(one)
        started.append(one)
        return one

    yield start
    for one in started:
        assert one.server is not None
        one.server.shutdown()
        one.server.server_close()
