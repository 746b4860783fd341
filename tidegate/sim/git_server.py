"""A Git server for trying out and testing: git's own `http-backend`, run as CGI behind a loopback HTTP
server.

Not for production: no TLS, one user, no quotas. What it speaks is Git's smart HTTP, so clients see the real
thing.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple
from urllib.parse import unquote

from tidegate.errors import OutsideError

_CHUNK = 64 * 1024
_IDLE_SECONDS = 60.0
_CONFIGURATION = {
    "http.receivepack": "true",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.keepAlive": "2",
    "receive.keepAlive": "2",
    "receive.autogc": "false",
    "core.fsync": "none",
}


class Request(NamedTuple):
    """One line of the access log."""

    method: str
    path: str
    status: int
    user: str
    coding: str = ""
    """How the request's body was packed: git sends `gzip` when it asks much."""


class GitServer:
    """Serves the bare repositories under `root`; `with GitServer(root) as server:` or `start()` and `stop()`.

    `credentials` (name, password) turns basic authentication on for everything.
    """

    def __init__(self, root: Path, port: int = 0, *, credentials: tuple[str, str] | None = None) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self.credentials = credentials
        self.requests: deque[Request] = deque(maxlen=10_000)
        """What was asked, newest last."""
        self.running: set[subprocess.Popen[bytes]] = set()
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> GitServer:
        """Binds 127.0.0.1 and serves in a background thread."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self._port), self)
            self._port = self._server.server_address[1]
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stops serving and ends the git processes it started; a later `start()` uses the same port."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        for process in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self._thread is not None:
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> GitServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start()` when none was asked for."""
        return self._port

    @property
    def address(self) -> str:
        """`http://127.0.0.1:<port>`"""
        return f"http://127.0.0.1:{self._port}"

    def url(self, name: str) -> str:
        """Where the repository is reached; user information is never in it."""
        return f"{self.address}/{name.removesuffix('.git')}.git"

    def path(self, name: str) -> Path:
        """Where the repository is on disk."""
        return self.root / f"{name.removesuffix('.git')}.git"

    def create(self, name: str, *, branch: str = "main") -> Path:
        """An empty bare repository; one that exists is left as it is. Returns its folder."""
        path = self.path(name)
        if not path.resolve().is_relative_to(self.root):
            raise OutsideError(f"git server: {name!r} is outside of its folder")
        if not (path / "HEAD").exists():
            words = ["git", "init", "--quiet", "--bare", f"--initial-branch={branch}", "--", str(path)]
            subprocess.run(words, check=True, env=_environment(), capture_output=True, timeout=20)
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: GitServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are nothing to print a traceback for."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = _IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr: `GitServer.requests` is the log."""

    def _answer(self) -> None:
        user = self._user()
        if user is None:
            self.close_connection = True  # the body was not read
            self._refuse(401, "authentication needed\n", ("WWW-Authenticate", 'Basic realm="tidegate"'))
            return
        path, _, query = self.path.partition("?")
        process = subprocess.Popen(
            ["git", "http-backend"],
            env=self._variables(unquote(path), query, user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.server.owner.running.add(process)
        try:
            self._relay(process, path, user)
        finally:
            self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """A push goes on when its client has gone, as on any Git server: only the pipes are closed."""
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.server.owner.running.discard(process)

    def _relay(self, process: subprocess.Popen[bytes], path: str, user: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=self._feed, args=(process.stdin,), daemon=True)
        feeder.start()
        status, headers = _head(process.stdout)
        self._log(path, status, user)
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while chunk := process.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        feeder.join(timeout=_IDLE_SECONDS)

    def _feed(self, stdin: IO[bytes]) -> None:
        """The request's body, streamed to git while its answer is streamed back."""
        try:
            for chunk in self._body():
                stdin.write(chunk)
        except (OSError, ValueError):
            self.close_connection = True
        finally:
            with contextlib.suppress(OSError, ValueError):
                stdin.close()

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return _Chunks(self.rfile)
        return _Sized(self.rfile, int(self.headers.get("Content-Length") or 0))

    def _user(self) -> str | None:
        """The caller's name (empty when nobody is asked), or `None` when the credentials are wrong."""
        wanted = self.server.owner.credentials
        if wanted is None:
            return ""
        kind, _, text = self.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(text) if kind.lower() == "basic" else b""
        except ValueError:
            return None
        return wanted[0] if hmac.compare_digest(given, ":".join(wanted).encode()) else None

    def _variables(self, path: str, query: str, user: str) -> dict[str, str]:
        variables = _environment() | {
            "GIT_PROJECT_ROOT": str(self.server.owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "REMOTE_ADDR": self.client_address[0],
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        if user:
            variables["REMOTE_USER"] = user
        if length := self.headers.get("Content-Length"):
            variables["CONTENT_LENGTH"] = length
        if coding := self.headers.get("Content-Encoding"):
            variables["HTTP_CONTENT_ENCODING"] = coding
        if protocol := self.headers.get("Git-Protocol"):
            variables["HTTP_GIT_PROTOCOL"] = variables["GIT_PROTOCOL"] = protocol
        return variables

    def _refuse(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        self._log(self.path, status, "")
        self.send_response_only(status)
        for name, value in (*headers, ("Content-Type", "text/plain"), ("Content-Length", str(len(text)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def _log(self, path: str, status: int, user: str) -> None:
        coding = self.headers.get("Content-Encoding", "")
        self.server.owner.requests.append(Request(self.command, path, status, user, coding))


class _Sized:
    """A body whose length is known."""

    def __init__(self, source: BufferedIOBase, size: int) -> None:
        self._source, self._left = source, size

    def __iter__(self) -> _Sized:
        return self

    def __next__(self) -> bytes:
        chunk = self._source.read(min(self._left, _CHUNK))
        if not chunk:
            raise StopIteration
        self._left -= len(chunk)
        return chunk


class _Chunks:
    """A body in HTTP/1.1 chunks; git sends packs over 1 MB like that."""

    def __init__(self, source: BufferedIOBase) -> None:
        self._source = source

    def __iter__(self) -> _Chunks:
        return self

    def __next__(self) -> bytes:
        size = int(self._source.readline(64).split(b";")[0].strip() or b"0", 16)
        data = self._source.read(size)
        self._source.readline(4)
        if not size:
            raise StopIteration
        return data


def _head(stdout: IO[bytes]) -> tuple[int, list[tuple[str, str]]]:
    """The CGI head: a `Status:` line or 200, and the other headers."""
    status, headers = 200, []
    while line := stdout.readline(8192).decode("latin-1").strip():
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers.append((name, value.strip()))
    if not headers and status == 200:
        status = 500
    return status, headers


def _environment() -> dict[str, str]:
    """For git on the server's side: no configuration of the user, ours for every repository under the
    root.
    """
    keep = ("PATH", "HOME", "TMPDIR", "LANG")
    variables = {name: os.environ[name] for name in keep if name in os.environ}
    variables |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    variables["GIT_CONFIG_COUNT"] = str(len(_CONFIGURATION))
    for number, (key, value) in enumerate(_CONFIGURATION.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or Ctrl-C; prints one JSON line with the address when ready.

    `GIT_SERVER_USER` and `GIT_SERVER_PASSWORD` in the environment turn basic authentication on.
    """
    parser = argparse.ArgumentParser(prog="python -m tidegate.sim.git_server", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the bare repositories")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--create", action="append", default=[], metavar="NAME", help="repository to create")
    options = parser.parse_args(arguments)
    user, password = os.environ.get("GIT_SERVER_USER"), os.environ.get("GIT_SERVER_PASSWORD")
    server = GitServer(
        options.root, options.port, credentials=(user, password) if user and password else None
    )
    repositories = {name: server.create(name) for name in options.create}
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with server:
        urls = {name: server.url(name) for name in repositories}
        print(json.dumps({"url": server.address, "repositories": urls}), flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
