"""The same questions to the small registry and to Debian's docker-registry: where they differ ours is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tidegate.sim.registry import Registry

BINARY = shutil.which("docker-registry")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"}}
"""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def debian(folder: Path) -> Iterator[str]:
    assert BINARY is not None
    address = free_address()
    config = folder / "config.yml"
    config.write_text(CONFIG.format(root=folder / "data", address=address))
    with subprocess.Popen([BINARY, "serve", str(config)], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 15
        while True:
            try:
                requests.get(f"http://{address}/v2/", timeout=2)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "docker-registry did not start"
                time.sleep(0.05)
        yield address
        process.terminate()


@pytest.fixture(scope="module", params=["sim", "docker-registry"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    if request.param == "sim":
        with Registry(folder) as registry:
            yield f"http://{registry.address}"
    elif BINARY is None:
        pytest.skip("docker-registry is not installed; Debian has it under this name")
    else:
        yield from (f"http://{address}" for address in debian(folder))


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def push(http: requests.Session, base: str, data: bytes, repository: str = "shop/app") -> str:
    digest = sha256(data)
    start = http.post(f"{base}/v2/{repository}/blobs/uploads/", timeout=10)
    url = urljoin(start.url, start.headers["Location"])
    done = http.put(url, params={"digest": digest}, data=data, timeout=10)
    assert done.status_code == 201, done.text
    return digest


def push_image(
    http: requests.Session, base: str, tag: str, text: bytes, repository: str = "shop/app"
) -> bytes:
    config, layer = b'{"architecture":"amd64","os":"linux"}', text
    parts = [
        {"mediaType": kind, "digest": push(http, base, data, repository), "size": len(data)}
        for kind, data in (
            ("application/vnd.oci.image.config.v1+json", config),
            ("application/vnd.oci.image.layer.v1.tar", layer),
        )
    ]
    body = json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
    ).encode()
    url = f"{base}/v2/{repository}/manifests/{tag}"
    done = http.put(url, data=body, headers={"Content-Type": MANIFEST}, timeout=10)
    assert done.status_code == 201, done.text
    assert done.headers["Docker-Content-Digest"] == sha256(body)
    return body


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


def test_it_says_that_it_speaks_version_2(base: str, http: requests.Session) -> None:
    answer = http.get(f"{base}/v2/", timeout=10)
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_an_upload_begins_empty_and_with_a_place(base: str, http: requests.Session) -> None:
    start = http.post(f"{base}/v2/shop/app/blobs/uploads/", timeout=10)
    assert start.status_code == 202
    assert start.headers["Range"] == "0-0"
    assert start.headers["Docker-Upload-Uuid"] in start.headers["Location"]
    assert start.headers["Content-Length"] == "0"


def test_a_blob_comes_back_whole_and_in_parts(base: str, http: requests.Session) -> None:
    digest = push(http, base, b"0123456789")
    url = f"{base}/v2/shop/app/blobs/{digest}"
    head = http.head(url, timeout=10)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "10")
    assert head.headers["Docker-Content-Digest"] == digest
    assert http.get(url, timeout=10).content == b"0123456789"
    part = http.get(url, headers={"Range": "bytes=3-5"}, timeout=10)
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"345", "bytes 3-5/10")
    rest = http.get(url, headers={"Range": "bytes=7-"}, timeout=10)
    assert (rest.status_code, rest.content) == (206, b"789")


def test_a_blob_in_chunks_tells_how_far_it_is(base: str, http: requests.Session) -> None:
    start = http.post(f"{base}/v2/shop/app/blobs/uploads/", timeout=10)
    url = urljoin(start.url, start.headers["Location"])
    for offset, chunk in ((0, b"aaaa"), (4, b"bbbb")):
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{offset}-{offset + 3}"}
        sent = http.patch(url, data=chunk, headers=headers, timeout=10)
        assert (sent.status_code, sent.headers["Range"]) == (202, f"0-{offset + 3}")
        url = urljoin(sent.url, sent.headers["Location"])
    state = http.get(url, timeout=10)
    assert (state.status_code, state.headers["Range"]) == (204, "0-7")
    url = urljoin(state.url, state.headers["Location"])
    done = http.put(url, params={"digest": sha256(b"aaaabbbbcc")}, data=b"cc", timeout=10)
    assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, sha256(b"aaaabbbbcc"))


def test_a_streamed_upload_is_taken(base: str, http: requests.Session) -> None:
    start = http.post(f"{base}/v2/shop/app/blobs/uploads/", timeout=10)
    url = urljoin(start.url, start.headers["Location"])
    sent = http.patch(url, data=iter([b"one ", b"two"]), timeout=10)
    assert (sent.status_code, sent.headers["Range"]) == (202, "0-6")
    url = urljoin(sent.url, sent.headers["Location"])
    assert http.put(url, params={"digest": sha256(b"one two")}, timeout=10).status_code == 201


def test_a_blob_that_is_not_what_it_says_is_refused(base: str, http: requests.Session) -> None:
    start = http.post(f"{base}/v2/shop/app/blobs/uploads/", timeout=10)
    url = urljoin(start.url, start.headers["Location"])
    done = http.put(url, params={"digest": sha256(b"other")}, data=b"this", timeout=10)
    assert error(done) == (400, "DIGEST_INVALID")


def test_unknown_things_have_their_names(base: str, http: requests.Session) -> None:
    digest = sha256(b"never pushed")
    assert error(http.get(f"{base}/v2/shop/app/blobs/{digest}", timeout=10)) == (404, "BLOB_UNKNOWN")
    assert error(http.get(f"{base}/v2/shop/app/manifests/gone", timeout=10)) == (404, "MANIFEST_UNKNOWN")
    assert error(http.get(f"{base}/v2/shop/app/manifests/{digest}", timeout=10)) == (404, "MANIFEST_UNKNOWN")
    assert error(http.get(f"{base}/v2/no/such/tags/list", timeout=10)) == (404, "NAME_UNKNOWN")
    assert http.head(f"{base}/v2/shop/app/manifests/gone", timeout=10).status_code == 404


def test_a_manifest_is_found_by_tag_and_by_digest(base: str, http: requests.Session) -> None:
    body = push_image(http, base, "one", b"layer one")
    for reference in ("one", sha256(body)):
        url = f"{base}/v2/shop/app/manifests/{reference}"
        for answer in (
            http.head(url, headers={"Accept": MANIFEST}, timeout=10),
            http.get(url, headers={"Accept": MANIFEST}, timeout=10),
        ):
            assert answer.status_code == 200
            assert answer.headers["Docker-Content-Digest"] == sha256(body)
            assert answer.headers["Content-Type"] == MANIFEST
            assert answer.headers["Content-Length"] == str(len(body))
        assert answer.content == body


def test_a_manifest_of_missing_blobs_is_refused(base: str, http: requests.Session) -> None:
    part = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(b"missing"), "size": 7}
    body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": []}).encode()
    url = f"{base}/v2/shop/app/manifests/broken"
    done = http.put(url, data=body, headers={"Content-Type": MANIFEST}, timeout=10)
    assert error(done) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_that_is_none_is_refused(base: str, http: requests.Session) -> None:
    url = f"{base}/v2/shop/app/manifests/broken"
    done = http.put(url, data=b"{nonsense", headers={"Content-Type": MANIFEST}, timeout=10)
    assert error(done) == (400, "MANIFEST_INVALID")


def test_a_manifest_under_a_wrong_digest_is_refused(base: str, http: requests.Session) -> None:
    body = push_image(http, base, "two", b"layer two")
    url = f"{base}/v2/shop/app/manifests/{sha256(b'other')}"
    done = http.put(url, data=body, headers={"Content-Type": MANIFEST}, timeout=10)
    assert error(done) == (400, "DIGEST_INVALID")


def test_a_tag_moves(base: str, http: requests.Session) -> None:
    push_image(http, base, "moving", b"before", "moves")
    body = push_image(http, base, "moving", b"after", "moves")
    answer = http.get(f"{base}/v2/moves/manifests/moving", headers={"Accept": MANIFEST}, timeout=10)
    assert answer.content == body
    assert http.get(f"{base}/v2/moves/tags/list", timeout=10).json() == {"name": "moves", "tags": ["moving"]}


def test_repositories_are_listed_in_pages(base: str, http: requests.Session) -> None:
    for name in ("page/a", "page/b"):
        push_image(http, base, "x", b"layer", name)
    names = http.get(f"{base}/v2/_catalog", timeout=10).json()["repositories"]
    assert {"page/a", "page/b"} <= set(names)
    assert names == sorted(names)
    first = http.get(f"{base}/v2/_catalog", params={"n": 1}, timeout=10)
    assert first.json()["repositories"] == names[:1]
    following = http.get(urljoin(first.url, first.links["next"]["url"]), timeout=10)
    assert following.json()["repositories"] == names[1:2]


def test_a_blob_is_mounted_from_another_repository(base: str, http: requests.Session) -> None:
    digest = push(http, base, b"shared layer", "from/here")
    query = {"mount": digest, "from": "from/here"}
    answer = http.post(f"{base}/v2/to/there/blobs/uploads/", params=query, timeout=10)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    query = {"mount": sha256(b"nowhere"), "from": "from/here"}
    assert http.post(f"{base}/v2/to/there/blobs/uploads/", params=query, timeout=10).status_code == 202


def test_a_cancelled_upload_is_gone(base: str, http: requests.Session) -> None:
    start = http.post(f"{base}/v2/shop/app/blobs/uploads/", timeout=10)
    url = urljoin(start.url, start.headers["Location"])
    assert http.delete(url, timeout=10).status_code == 204
    assert error(http.get(url, timeout=10)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_names_cannot_leave_the_folder(base: str, http: requests.Session) -> None:
    for name in ("../x", "a/../../x", "A/b", "x/%2e%2e/y"):
        url = f"{base}/v2/{name}/manifests/latest"
        request = http.prepare_request(requests.Request("GET", f"{base}/"))
        request.url = url
        assert http.send(request, timeout=10, allow_redirects=False).status_code in (301, 400, 404)


def test_what_was_pushed_is_there_after_a_restart(tmp_path: Path, http: requests.Session) -> None:
    with Registry(tmp_path) as registry:
        body = push_image(http, f"http://{registry.address}", "kept", b"layer")
    with Registry(tmp_path) as registry:
        url = f"http://{registry.address}/v2/shop/app/manifests/{sha256(body)}"
        assert http.get(url, timeout=10).content == body


def test_it_runs_as_a_process_and_ends_on_sigterm(tmp_path: Path, http: requests.Session) -> None:
    argv = [sys.executable, "-m", "tidegate.sim.registry", "--root", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["registry"]
        assert http.get(f"http://{address}/v2/", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
