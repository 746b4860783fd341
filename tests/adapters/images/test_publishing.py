"""The registry client against a registry that is slow, busy, forgetful, closed, or lies."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.adapters.images.registry_proxy import Fault, Proxy
from tidegate.adapters.images import Credentials, Reference, Registry
from tidegate.adapters.images.oci import MANIFEST
from tidegate.errors import NotFound, OutsideError, Rejected, TidegateError, Unreachable
from tidegate.sim.registry import Registry as Server

SECRET = "hunter2-secret"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Clock:
    """Counts the pauses instead of making them."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(proxy: Proxy, clock: Clock) -> Iterator[Registry]:
    with Registry(Reference.parse(f"{proxy.address}/shop"), timeout=(2, 2), sleep=clock) as registry:
        yield registry


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("tidegate.adapters.images.registry.CHUNK", 1000)
    return 1000


def image(client: Registry, text: bytes = b"{}") -> bytes:
    client.push_blob("shop", sha256(text), text)
    part = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": sha256(text),
        "size": len(text),
    }
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": []}).encode()


def stored(server: Server, digest: str, root: Path) -> bytes:
    return (root / "registry" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def test_an_image_is_pushed_and_found_by_tag_and_digest(client: Registry) -> None:
    body = image(client)
    assert client.digest("shop", "v1") is None
    digest = client.put_manifest("shop", "v1", body, MANIFEST)
    assert digest == sha256(body)
    assert client.digest("shop", "v1") == digest
    assert client.digest("shop", digest) == digest
    assert client.manifest("shop", "v1").body == body


def test_a_blob_that_is_there_is_not_sent_again(client: Registry, proxy: Proxy) -> None:
    assert client.push_blob("shop", sha256(b"x"), b"x")
    proxy.log.clear()
    assert not client.push_blob("shop", sha256(b"x"), b"x")
    assert [method for method, _, _ in proxy.log] == ["HEAD"]


def test_a_large_blob_goes_in_chunks_from_a_file(
    client: Registry, server: Server, proxy: Proxy, tmp_path: Path, small_chunks: int
) -> None:
    data = bytes(range(256)) * 14
    (tmp_path / "layer").write_bytes(data)
    client.push_blob("shop", sha256(data), tmp_path / "layer")
    assert stored(server, sha256(data), tmp_path) == data
    assert [m for m, _, _ in proxy.log] == ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("part", [0, 1, 400])
def test_a_broken_upload_goes_on_where_it_broke(
    client: Registry, server: Server, proxy: Proxy, tmp_path: Path, small_chunks: int, method: str, part: int
) -> None:
    data = bytes(range(256)) * 14
    proxy.faults = [Fault(method, "/uploads/", reset_after=part)]
    client.push_blob("shop", sha256(data), data)
    assert stored(server, sha256(data), tmp_path) == data
    ambiguous = method == "PATCH" and part == 1  # `Range: 0-0` is one byte or none: it begins again
    assert [m for m, _, _ in proxy.log].count("POST") == (2 if ambiguous else 1)


@pytest.mark.parametrize("fault", ["status", "reset", "drop"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_debians_registry_gets_the_whole_blob_after_any_break(
    debian: str, clock: Clock, small_chunks: int, method: str, fault: str
) -> None:
    data = bytes(range(256)) * 14
    proxy = Proxy(debian)
    faults = {"status": {"status": 502}, "reset": {"reset_after": 400}, "drop": {"drop": True}}
    proxy.faults = [Fault(method, "/uploads/", **faults[fault])]  # type: ignore[arg-type]
    try:
        with Registry(Reference.parse(f"{proxy.address}/shop"), timeout=(2, 5), sleep=clock) as client:
            client.push_blob("shop", sha256(data), data)
            assert client.has_blob("shop", sha256(data))
        assert len(clock.pauses) == 1, proxy.log
    finally:
        proxy.close()


def test_an_upload_the_registry_forgot_begins_again(
    client: Registry, server: Server, proxy: Proxy, tmp_path: Path, small_chunks: int
) -> None:
    data = b"layer" * 700
    proxy.faults = [Fault("PATCH", "/uploads/", status=503), Fault("GET", "/uploads/", status=404)]
    client.push_blob("shop", sha256(data), data)
    assert stored(server, sha256(data), tmp_path) == data
    assert [m for m, _, _ in proxy.log].count("POST") == 2


def test_an_upload_whose_answer_was_lost_is_not_sent_twice(client: Registry, proxy: Proxy) -> None:
    proxy.faults = [Fault("PUT", "/uploads/", drop=True)]
    client.push_blob("shop", sha256(b"once"), b"once")
    assert [m for m, _, _ in proxy.log].count("PUT") == 1


def test_a_registry_that_stays_down_is_unreachable_after_a_few_tries(
    client: Registry, proxy: Proxy, clock: Clock
) -> None:
    proxy.faults = [Fault("PUT", "/uploads/", times=99, status=503)]
    with pytest.raises(Unreachable, match="PUT answered 503"):
        client.push_blob("shop", sha256(b"x"), b"x")
    assert len(clock.pauses) == 3


def test_a_busy_registry_is_given_the_time_it_asks_for(client: Registry, proxy: Proxy, clock: Clock) -> None:
    proxy.faults = [Fault("HEAD", "/manifests/", times=2, status=429, headers={"Retry-After": "7"})]
    assert client.digest("shop", "v1") is None
    assert clock.pauses == [7.0, 7.0]


def test_a_registry_that_asks_for_too_much_time_is_left_to_the_caller(
    client: Registry, proxy: Proxy, clock: Clock
) -> None:
    proxy.faults = [Fault("HEAD", "/manifests/", status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(Unreachable) as caught:
        client.digest("shop", "v1")
    assert caught.value.retry_after == 3600
    assert clock.pauses == []


def test_a_silent_registry_costs_the_timeout_and_no_more(proxy: Proxy, clock: Clock) -> None:
    proxy.faults = [Fault("HEAD", "/manifests/", hang=True)]
    started = time.monotonic()
    with (
        Registry(
            Reference.parse(f"{proxy.address}/shop"), timeout=(1, 0.5), attempts=1, sleep=clock
        ) as client,
        pytest.raises(Unreachable, match=r"no answer within 0\.5 s"),
    ):
        client.digest("shop", "v1")
    assert time.monotonic() - started < 3


def test_nobody_there_is_said_in_words(clock: Clock) -> None:
    with (
        Registry(Reference.parse("127.0.0.1:9/shop"), sleep=clock) as client,
        pytest.raises(Unreachable, match=r"^registry 127\.0\.0\.1:9: shop/manifests/v1: connection refused$"),
    ):
        client.digest("shop", "v1")


def test_a_manifest_changed_on_its_way_in_is_refused_with_both_digests(
    client: Registry, proxy: Proxy
) -> None:
    body = image(client)
    other = sha256(b"something else")
    proxy.faults = [Fault("PUT", "/manifests/", times=2, change=lambda _: other)]
    with pytest.raises(Rejected) as caught:
        client.put_manifest("shop", "v1", body, MANIFEST)
    assert sha256(body) in str(caught.value)
    assert other in str(caught.value)


def test_a_manifest_changed_once_is_put_right(client: Registry, proxy: Proxy) -> None:
    body = image(client)
    flipped = sha256(b"something else")
    proxy.faults = [Fault("PUT", "/manifests/", change=lambda _: flipped)]
    assert client.put_manifest("shop", "v1", body, MANIFEST) == sha256(body)
    assert client.digest("shop", "v1") == sha256(body)


def test_a_manifest_changed_on_its_way_out_is_refused(client: Registry, proxy: Proxy) -> None:
    body = image(client)
    client.put_manifest("shop", "v1", body, MANIFEST)
    proxy.faults = [Fault("GET", "/manifests/", change=lambda _: sha256(b"y"))]
    with pytest.raises(Rejected, match="it was changed on its way"):
        client.manifest("shop", "v1")


def test_a_blob_changed_on_its_way_is_never_stored(client: Registry, proxy: Proxy) -> None:
    proxy.faults = [Fault("PUT", "/uploads/", flip=True)]
    with pytest.raises(Rejected, match="DIGEST_INVALID"):
        client.push_blob("shop", sha256(b"layer"), b"layer")
    assert not client.has_blob("shop", sha256(b"layer"))


def test_a_missing_manifest_is_not_found(client: Registry) -> None:
    with pytest.raises(NotFound, match="shop/manifests/v1: GET answered 404 MANIFEST_UNKNOWN"):
        client.manifest("shop", "v1")


# -- logging in


class Guarded:
    """A registry that wants a login, with the token server beside it."""

    def __init__(self, scheme: str, *, realm: str | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self.tokens = 0
        guarded = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                guarded.seen.append((self.path, given))
                basic = "Basic " + base64.b64encode(f"ci:{SECRET}".encode()).decode()
                if self.path.startswith("/token"):
                    guarded.tokens += 1
                    body = json.dumps({"token": "t0k"}).encode()
                    self.answer(200 if given == basic else 401, body if given == basic else b"")
                elif given == ("Bearer t0k" if scheme == "Bearer" else basic):
                    self.answer(200, Docker_Content_Digest=sha256(b"m"))
                else:
                    where = realm or f"http://{guarded.address}/token"
                    challenge = {
                        "Bearer": f'Bearer realm="{where}",service="reg"',
                        "Basic": 'Basic realm="reg"',
                    }
                    self.answer(401, WWW_Authenticate=challenge.get(scheme, scheme))

            do_HEAD = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Guarded:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def login(password: str = SECRET) -> Credentials:
    return Credentials("ci", SecretStr(password))


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_login_is_used_once_and_kept(scheme: str) -> None:
    with Guarded(scheme) as guarded:
        with Registry(Reference.parse(f"{guarded.address}/shop"), credentials=login()) as client:
            assert client.digest("shop", "v1") == sha256(b"m")
            assert client.digest("shop", "v2") == sha256(b"m")
        assert guarded.tokens == (1 if scheme == "Bearer" else 0)
        asked = [path for path, _ in guarded.seen if path.startswith("/token")]
        assert all("scope=repository%3Ashop%3Apull" in path for path in asked)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_wrong_login_is_refused_and_told_to_nobody(scheme: str) -> None:
    with (
        Guarded(scheme) as guarded,
        Registry(Reference.parse(f"{guarded.address}/shop"), credentials=login("wr0ng-secret")) as client,
        pytest.raises(Rejected, match="TIDEGATE_REGISTRY_PASSWORD") as caught,
    ):
        client.digest("shop", "v1")
    assert "wr0ng" not in _everything(caught.value)


def test_a_missing_login_says_what_to_set() -> None:
    with (
        Guarded("Basic") as guarded,
        Registry(Reference.parse(f"{guarded.address}/shop")) as client,
        pytest.raises(Rejected, match="needs a login; set TIDEGATE_REGISTRY_USERNAME"),
    ):
        client.digest("shop", "v1")


@pytest.mark.parametrize("realm", ["http://tokens.example/token", "ftp://127.0.0.1/x", ""])
def test_a_login_never_goes_over_plain_http_to_another_machine(realm: str) -> None:
    with (
        Guarded("Bearer", realm=realm or "tokens.example") as guarded,
        Registry(Reference.parse(f"{guarded.address}/shop"), credentials=login()) as client,
        pytest.raises(OutsideError),
    ):
        client.digest("shop", "v1")


def test_an_unknown_kind_of_login_is_refused() -> None:
    with (
        Guarded("Negotiate") as guarded,
        Registry(Reference.parse(f"{guarded.address}/shop"), credentials=login()) as client,
        pytest.raises(Rejected, match="of a kind we do not know"),
    ):
        client.digest("shop", "v1")


def test_proxies_and_netrc_of_the_environment_are_not_used(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login x password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Registry(Reference.parse(f"{proxy.address}/shop")) as client:
        assert client.digest("shop", "v1") is None
    assert all("Authorization" not in headers for headers in proxy.headers)


def _everything(error: BaseException | None) -> str:
    """The messages of an error and all its causes."""
    text = ""
    while error is not None:
        text += f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    return text


def test_errors_are_of_our_family(client: Registry, proxy: Proxy) -> None:
    for status in (400, 403, 404, 405, 429, 500, 503):
        proxy.faults = [Fault("GET", "/manifests/", times=9, status=status)]
        with pytest.raises(TidegateError):
            client.manifest("shop", "v1")
