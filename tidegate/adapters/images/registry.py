"""A client of the registry API v2 (OCI distribution spec 1.0): look and push, nothing else.

Every request has a timeout. 429, 5xx and lost connections are tried again a few times and as long as the
registry asks, up to `PATIENCE`; an upload goes on where it broke off. What is still not possible then is
`Unreachable`, and the caller's retry rule decides. Credentials are sent to the registry itself and to the
token server it names, never over plain HTTP to another machine, and are in no message.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr

from tidegate.adapters.images.answers import (
    Translated,
    bounded,
    header_digest,
    next_offset,
    reason,
    retry_after,
    scope_of,
    sha256,
)
from tidegate.adapters.images.reference import DOCKER_HUB, Reference, is_loopback
from tidegate.errors import NotFound, OutsideError, Rejected, TidegateError, Unreachable

if TYPE_CHECKING:
    import requests

CHUNK = 8 * 1024 * 1024
"""Bytes per upload request; what is lost at most when a connection breaks."""
PATIENCE = 20.0
"""Longest pause in seconds a registry may ask for inside one call; a longer one is given to the caller."""
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_LIMIT = 4 * 1024 * 1024
_OK = frozenset({200, 201, 202, 204, 206})


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login."""

    username: str
    password: SecretStr

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        text = f"{self.username}:{self.password.get_secret_value()}"
        return "Basic " + base64.b64encode(text.encode()).decode()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it was received."""

    digest: str
    media_type: str
    body: bytes


@dataclass(slots=True)
class _Content:
    """Bytes to upload, from memory or a file, any part of them at any time."""

    source: bytes | Path
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def part(self, offset: int, length: int) -> bytes:
        if isinstance(self.source, bytes):
            return self.source[offset : offset + length]
        with self.source.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)


class Registry:
    """One registry; holds its connections and tokens. Not for use by several threads at once."""

    def __init__(
        self,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        timeout: tuple[float, float] = (3.05, 10.0),
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = reference.registry or DOCKER_HUB
        self._base = reference.base_url
        self._credentials = credentials
        self._timeout = timeout
        self._attempts = attempts
        self._sleep = sleep
        self._authorization: dict[str, str] = {}
        self._session: requests.Session | None = None

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            self._session.close()
            self._session = None

    # -- manifests

    def digest(self, repository: str, reference: str) -> str | None:
        """The digest a tag names (one HEAD), or the digest itself when it is there; None when it is not."""
        path = f"/v2/{repository}/manifests/{reference}"
        try:
            response = self._call("HEAD", path, "pull", headers={"Accept": ", ".join(MANIFESTS)})
        except NotFound:
            return None
        return header_digest(response) or self.manifest(repository, reference).digest

    def manifest(self, repository: str, reference: str) -> Manifest:
        """A manifest, its digest computed from its bytes; `NotFound`; `Rejected` when it is another one."""
        path = f"/v2/{repository}/manifests/{reference}"
        response = self._call("GET", path, "pull", headers={"Accept": ", ".join(MANIFESTS)}, stream=True)
        with self._translated(path):
            body = b"".join(bounded(response, _MANIFEST_LIMIT))
        digest = sha256(body)
        wanted = reference if reference.startswith("sha256:") else header_digest(response) or digest
        if wanted != digest:
            raise Rejected(
                f"{self._about(path)}: digest is {digest}, not {wanted}; it was changed on its way"
            )
        return Manifest(digest, response.headers.get("Content-Type", "").partition(";")[0], body)

    def put_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        """Stores a manifest under a tag; its digest, as the registry says it and we computed it.

        `Rejected` with both digests when they differ twice: the tag then names something that is not ours.
        """
        path = f"/v2/{repository}/manifests/{tag}"
        wanted = sha256(body)
        found = ""
        for _ in range(2):
            response = self._call("PUT", path, "pull,push", headers={"Content-Type": media_type}, data=body)
            found = header_digest(response) or self.digest(repository, tag) or "nothing"
            if found == wanted:
                return wanted
        raise Rejected(
            f"{self._about(path)}: the registry stored {found}, not {wanted}; the image was changed"
        )

    # -- blobs

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has the blob (one HEAD)."""
        try:
            self._call("HEAD", f"/v2/{repository}/blobs/{digest}", "pull")
        except NotFound:
            return False
        return True

    def push_blob(self, repository: str, digest: str, source: bytes | Path) -> bool:
        """Uploads a blob unless it is there; whether it had to. After a break it goes on where it was."""
        if self.has_blob(repository, digest):
            return False
        content = _Content(source)
        location, offset, failures, resumed = "", 0, 0, False
        while True:
            try:
                if not location:
                    location, offset = self._start(repository), 0
                if content.size - offset <= CHUNK:
                    self._complete(location, digest, content, offset)
                    return True
                location, offset = self._send_chunk(location, content, offset)
            except (Rejected, NotFound):
                # a registry may lose what it said it has (`0-0` is one byte or none): once more from the beginning
                if not resumed:
                    raise
                location, resumed = "", False
            except Unreachable as error:
                failures += 1
                if failures >= self._attempts:
                    raise
                self._pause(error, failures)
                if self.has_blob(repository, digest):  # only the answer was lost
                    return True
                location, offset = self._resume(location, offset) if location else ("", 0)
                resumed = bool(location)

    def _start(self, repository: str) -> str:
        response = self._call("POST", f"/v2/{repository}/blobs/uploads/", "pull,push", attempts=1)
        return self._location(response)

    def _send_chunk(self, location: str, content: _Content, offset: int) -> tuple[str, int]:
        data = content.part(offset, CHUNK)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + len(data) - 1}",
        }
        response = self._call("PATCH", location, "pull,push", headers=headers, data=data, attempts=1)
        return self._location(response), next_offset(response, offset + len(data))

    def _complete(self, location: str, digest: str, content: _Content, offset: int) -> None:
        url = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        data = content.part(offset, CHUNK)
        headers = {"Content-Type": "application/octet-stream"}
        if data:
            headers["Content-Range"] = f"{offset}-{offset + len(data) - 1}"
        self._call("PUT", url, "pull,push", headers=headers, data=data, attempts=1)

    def _resume(self, location: str, offset: int) -> tuple[str, int]:
        """Where the upload stands now; from the beginning when the registry has forgotten it."""
        try:
            response = self._call("GET", location, "pull,push")
        except (NotFound, Rejected):
            return "", 0
        return self._location(response), next_offset(response, offset)

    def _location(self, response: requests.Response) -> str:
        location = response.headers.get("Location")
        if not location:
            raise Rejected(f"registry {self.host}: began an upload without saying where it goes on")
        return urljoin(response.url, location)

    # -- requests

    def _call(
        self,
        method: str,
        path: str,
        actions: str,
        *,
        headers: Mapping[str, str] = {},
        data: bytes | None = None,
        stream: bool = False,
        attempts: int | None = None,
    ) -> requests.Response:
        """The answer of a request that worked; everything else is one of our errors."""
        attempts = attempts or self._attempts
        for attempt in range(1, attempts + 1):
            try:
                response = self._authorized(method, path, actions, headers, data, stream)
                if response.status_code in _OK:
                    return response
                raise self._error(method, path, response)
            except Unreachable as error:
                if attempt == attempts:
                    raise
                self._pause(error, attempt)
        raise AssertionError("unreachable")

    def _pause(self, error: TidegateError, attempt: int) -> None:
        asked = getattr(error, "retry_after", None)
        if asked is not None and asked > PATIENCE:
            raise error
        self._sleep(0.25 * 2**attempt if asked is None else asked)

    def _authorized(
        self,
        method: str,
        path: str,
        actions: str,
        headers: Mapping[str, str],
        data: bytes | None,
        stream: bool,
    ) -> requests.Response:
        url = urljoin(self._base, path)
        scope = scope_of(urlsplit(url).path, actions)
        ours = urlsplit(url).netloc == urlsplit(self._base).netloc
        for logged_in in (False, True):
            known = (
                {"Authorization": self._authorization[scope]} if ours and scope in self._authorization else {}
            )
            response = self._send(method, url, {**headers, **known}, data, stream)
            if response.status_code != 401 or logged_in or not ours:
                return response
            self._authorization[scope] = self._log_in(response.headers.get("WWW-Authenticate", ""), scope)
        raise AssertionError("unreachable")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, stream: bool
    ) -> requests.Response:
        with self._translated(url):
            return self._http().request(
                method,
                url,
                headers={"User-Agent": "tidegate", **headers},
                data=data,
                timeout=self._timeout,
                stream=stream,
                allow_redirects=method in ("GET", "HEAD"),
            )

    def _http(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.trust_env = False  # no .netrc, no proxy nobody told us about
        return self._session

    def _translated(self, url: str) -> Translated:
        return Translated(self._about(url), self._timeout[1])

    def _about(self, url: str) -> str:
        return f"registry {self.host}: {urlsplit(url).path.removeprefix('/v2/')}"

    # -- logging in

    def _log_in(self, challenge: str, scope: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return self._basic()
        if scheme.lower() != "bearer":
            raise Rejected(
                f"registry {self.host}: wants a login of a kind we do not know ('{scheme or 'none'}')"
            )
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = asked.get("realm", "")
        if not realm.startswith("https://") and not is_loopback(urlsplit(realm).netloc):
            raise Rejected(f"registry {self.host}: its token server is not on https; no login is sent there")
        return self._token(realm, asked.get("service", ""), scope or asked.get("scope", ""))

    def _basic(self) -> str:
        if self._credentials is None:
            raise Rejected(
                f"registry {self.host}: needs a login; "
                "set TIDEGATE_REGISTRY_USERNAME and TIDEGATE_REGISTRY_PASSWORD"
            )
        return self._credentials.basic

    def _token(self, realm: str, service: str, scope: str) -> str:
        headers = {"Authorization": self._credentials.basic} if self._credentials else {}
        with Translated(f"registry {self.host}: its token server", self._timeout[1]):
            response = self._http().get(
                realm,
                params={"service": service, "scope": scope},
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
        if response.status_code != 200:
            raise self._error("GET", "its token server", response)
        try:
            body: dict[str, Any] = response.json()
            return "Bearer " + str(body.get("token") or body["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise Rejected(f"registry {self.host}: its token server gave no token") from error

    def _error(self, method: str, path: str, response: requests.Response) -> OutsideError:
        """What a refusing answer means."""
        status = response.status_code
        text = f"{self._about(path)}: {method} answered {status}{reason(response)}"
        if status == 404:
            return NotFound(text)
        if status == 429 or status >= 500:
            return Unreachable(text, retry_after=retry_after(response))
        if status in (401, 403):
            who = f"user '{self._credentials.username}' may not" if self._credentials else "a login is needed"
            return Rejected(f"{text}; {who}; see TIDEGATE_REGISTRY_USERNAME and TIDEGATE_REGISTRY_PASSWORD")
        return Rejected(text)
