"""A small container registry (OCI distribution API v2) for trying out and for tests; never for production.

Plain HTTP on loopback, no authentication, content-addressed files under one folder:

    blobs/sha256/<hex>                      layers, configs and manifests
    repositories/<name>/tags/<tag>          the digest a tag names
    repositories/<name>/manifests/<hex>     the manifest's media type
    uploads/<id>                            unfinished uploads

Where it differs from Debian's docker-registry it is wrong; `tests/sim/test_registry.py` asks both the same.
`python -m tidegate.sim.registry --root DIR [--port N]` runs it as a process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from tidegate.sim.registry_store import DIGEST, Refusal, Store

log = logging.getLogger(__name__)

NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
MANIFEST_LIMIT = 4 * 1024 * 1024
_CHUNK = 1 << 20


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    store: Store
    on_request: Callable[[str, str, int], None]

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def _answer(self) -> None:
        self._left = int(self.headers.get("Content-Length") or 0)
        self._chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        self._url = urlsplit(self.path)
        self._query = {k: v[-1] for k, v in parse_qs(self._url.query).items()}
        try:
            self._route()
        except Refusal as refusal:
            error = {"code": refusal.code, "message": refusal.message, "detail": refusal.detail}
            self._send(refusal.status, json.dumps({"errors": [error]}).encode() + b"\n")
        except OSError as error:
            self.close_connection = True
            log.warning("%s %s: %s", self.command, self.path, error)
            if not isinstance(error, ConnectionError | TimeoutError):
                self._send(500, b"{}")

    def _route(self) -> None:
        for pattern, methods in _ROUTES:
            found = re.fullmatch(pattern, self._url.path)
            if not found:
                continue
            method = methods.get("GET" if self.command == "HEAD" else self.command)
            if method is None:
                raise Refusal(405, "UNSUPPORTED", "The operation is unsupported.")
            method(self, **found.groupdict())
            return
        raise Refusal(404, "NAME_UNKNOWN", "no such page")

    # -- reading and answering

    def _body(self) -> Iterator[bytes]:
        while self._chunked:
            size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
            left = size
            while left:
                data = self.rfile.read(min(left, _CHUNK))
                if not data:
                    raise ConnectionResetError("the client went away")
                left -= len(data)
                yield data
            self.rfile.readline()
            if not size:
                self._chunked = False
        while self._left:
            data = self.rfile.read1(min(self._left, _CHUNK))
            if not data:
                raise ConnectionResetError("the client went away")
            self._left -= len(data)
            yield data

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        for _ in self._body():  # what is left of the request would be taken for the next one
            pass
        type(self).on_request(self.command, self._url.path, status)
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if body and "Content_Type" not in headers:
            headers["Content_Type"] = "application/json; charset=utf-8"
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204 and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # -- the API

    def _base(self) -> None:
        self._send(200, b"{}")

    def _get_manifest(self, name: str, reference: str) -> None:
        digest, media_type, body = self.store.manifest(name, reference)
        self._send(200, body, Content_Type=media_type, Docker_Content_Digest=digest, Etag=f'"{digest}"')

    def _put_manifest(self, name: str, reference: str) -> None:
        body = bytearray()
        for data in self._body():
            body += data
            if len(body) > MANIFEST_LIMIT:
                self.close_connection = True
                raise Refusal(413, "SIZE_INVALID", "manifest too large")
        media_type = self.headers.get("Content-Type", "")
        digest = self.store.put_manifest(name, reference, media_type, bytes(body))
        self._send(201, Location=f"/v2/{name}/manifests/{digest}", Docker_Content_Digest=digest)

    def _get_blob(self, name: str, digest: str) -> None:
        path = self.store.blob(digest)
        size = path.stat().st_size
        first, last = _range(self.headers.get("Range", ""), size)
        partial = {"Content_Range": f"bytes {first}-{last}/{size}"} if "Range" in self.headers else {}
        self._send(
            206 if partial else 200,
            b"",
            Content_Type="application/octet-stream",
            Content_Length=str(last - first + 1),
            Docker_Content_Digest=digest,
            Accept_Ranges="bytes",
            Etag=f'"{digest}"',
            **partial,
        )
        if self.command == "HEAD":
            return
        with path.open("rb") as stream:
            stream.seek(first)
            left = last - first + 1
            while left and (data := stream.read(min(left, _CHUNK))):
                self.wfile.write(data)
                left -= len(data)

    def _start_upload(self, name: str) -> None:
        wanted = self._query.get("mount", "")
        if wanted and self._query.get("from"):
            with contextlib.suppress(Refusal):
                self.store.blob(wanted)
                self._created(name, wanted)
                return
        upload = self.store.uploads / str(uuid.uuid4())
        upload.touch()
        if "digest" in self._query:
            self._finish_upload(name, upload.name)
            return
        self._progress(202, name, upload)

    def _progress(self, status: int, name: str, upload: Path) -> None:
        self._send(
            status,
            Location=f"/v2/{name}/blobs/uploads/{upload.name}",
            Range=f"0-{max(upload.stat().st_size - 1, 0)}",
            Docker_Upload_Uuid=upload.name,
        )

    def _created(self, name: str, digest: str) -> None:
        self._send(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)

    def _get_upload(self, name: str, upload: str) -> None:
        self._progress(204, name, self.store.upload(upload))

    def _add(self, upload: Path) -> None:
        said = re.fullmatch(r"(?:bytes )?(\d+)-(\d+)(?:/.*)?", self.headers.get("Content-Range", ""))
        if said and int(said[1]) != upload.stat().st_size:
            raise Refusal(416, "BLOB_UPLOAD_INVALID", "the chunk does not begin where the last one ended")
        with upload.open("ab") as stream:  # what arrived before a broken connection stays: the client resumes
            for data in self._body():
                stream.write(data)

    def _append_upload(self, name: str, upload: str) -> None:
        path = self.store.upload(upload)
        self._add(path)
        self._progress(202, name, path)

    def _finish_upload(self, name: str, upload: str) -> None:
        path = self.store.upload(upload)
        digest = self._query.get("digest", "")
        if not re.fullmatch(DIGEST, digest):
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self._add(path)
        self.store.keep(path, digest)
        self._created(name, digest)

    def _cancel_upload(self, name: str, upload: str) -> None:
        self.store.upload(upload).unlink()
        self._send(204)

    def _page(self, key: str, entries: list[str], **more: str) -> None:
        later = [e for e in entries if e > self._query.get("last", "")]
        count = int(self._query.get("n") or len(later))
        page = later[:count]
        link = f"<{self._url.path}?last={quote(page[-1], safe='')}&n={count}>" if count and page else ""
        headers = {"Link": f'{link}; rel="next"'} if link and len(later) > count else {}
        self._send(200, json.dumps({**more, key: page}).encode(), **headers)

    def _tags(self, name: str) -> None:
        self._page("tags", self.store.tags(name), name=name)

    def _catalog(self) -> None:
        self._page("repositories", self.store.names())


_ROUTES: tuple[tuple[str, dict[str, Callable[..., None]]], ...] = (
    (r"/v2/", {"GET": _Handler._base}),
    (r"/v2/_catalog", {"GET": _Handler._catalog}),
    (rf"/v2/(?P<name>{NAME})/tags/list", {"GET": _Handler._tags}),
    (
        rf"/v2/(?P<name>{NAME})/manifests/(?P<reference>{DIGEST}|{TAG})",
        {"GET": _Handler._get_manifest, "PUT": _Handler._put_manifest},
    ),
    (rf"/v2/(?P<name>{NAME})/blobs/uploads/?", {"POST": _Handler._start_upload}),
    (
        rf"/v2/(?P<name>{NAME})/blobs/uploads/(?P<upload>[0-9a-f-]{{36}})",
        {
            "GET": _Handler._get_upload,
            "PATCH": _Handler._append_upload,
            "PUT": _Handler._finish_upload,
            "DELETE": _Handler._cancel_upload,
        },
    ),
    (rf"/v2/(?P<name>{NAME})/blobs/(?P<digest>{DIGEST})", {"GET": _Handler._get_blob}),
)


def _range(header: str, size: int) -> tuple[int, int]:
    """First and last byte asked for; all without a (usable) Range."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    if not found:
        return 0, size - 1
    first, last = int(found[1]), min(int(found[2] or size), size - 1)
    if first > last:
        raise Refusal(416, "BLOB_UNKNOWN", "requested range not satisfiable")
    return first, last


class Registry:
    """The server in threads of this process; also a context manager.

    `port=0` takes a free one. `on_request(method, path, status)` is called right before each answer.
    """

    def __init__(
        self, root: Path, port: int = 0, *, on_request: Callable[[str, str, int], None] = lambda *_: None
    ) -> None:
        store = Store(root)
        handler = type("Handler", (_Handler,), {"store": store, "on_request": staticmethod(on_request)})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, the first part of image names."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Registry:
        """Begins to answer; the address is bound since the construction."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="registry", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server and closes the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Registry:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main(argv: list[str] | None = None) -> None:
    """Runs until SIGTERM or Ctrl-C; prints one JSON line with the address when ready."""
    parser = argparse.ArgumentParser(prog="tidegate.sim.registry", description=__doc__)
    parser.add_argument("--root", type=Path, help="folder of the images (default: a temporary one)")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args(argv)
    root = arguments.root or Path(tempfile.mkdtemp(prefix="tidegate-registry-"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Registry(root, arguments.port) as registry:
        print(json.dumps({"registry": registry.address, "pid": os.getpid()}), flush=True)
        stop.wait()
    if arguments.root is None:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
