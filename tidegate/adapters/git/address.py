"""Where a repository is, what may be said about it, and which names may reach git's command line."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from tidegate.errors import SpecError

_SCP = re.compile(r"^(?:(?P<user>[^@/:\s]+)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:].*)$")
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|^[-./]|[/.]$")


@dataclass(frozen=True, slots=True)
class Address:
    """A repository's URL, parted into what may be shown and what may not."""

    url: str
    """Without user information for HTTP, so it may stand in a configuration file or message."""
    protocol: str
    """What `GIT_ALLOW_PROTOCOL` calls it: https, http, ssh, file."""
    host: str = ""
    """`host[:port]` as git writes it in its credential prompts; empty for files."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """Names the mirror's folder: the same repository has the same key on every machine."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:20]

    @classmethod
    def parse(cls, url: str, protocols: str) -> Address:
        """`SpecError` for a URL that git could take for an option, or a transport not in `protocols`."""
        if not url or url.startswith("-") or any(ord(letter) < 33 or ord(letter) == 127 for letter in url):
            raise SpecError(f"git url {redact(url)!r}: not a repository address; write https://host/path.git")
        address = _split(url)
        if address.host.startswith("-"):
            raise SpecError(f"git url {redact(url)!r}: the host begins with '-'; write https://host/path.git")
        if address.protocol == "file" and "://" not in url and not url.startswith("/"):
            raise SpecError(
                f"git url {url!r}: a relative path; write it from the root, or https://host/path.git"
            )
        allowed = [name for name in protocols.split(":") if name]
        if address.protocol not in allowed:
            raise SpecError(
                f"git url {redact(url)}: {address.protocol} is not allowed here; allowed by"
                f" TIDEGATE_GIT_PROTOCOLS: {', '.join(allowed)}"
            )
        return address


def _split(url: str) -> Address:
    if "://" in url:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            host = parts.hostname or ""
            return Address(url=url, protocol=parts.scheme or "?", host=host, username=parts.username)
        host = parts.netloc.rpartition("@")[2]
        plain = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        user, secret = parts.username, parts.password
        return Address(plain, parts.scheme, host, user and unquote(user), secret and unquote(secret))
    if "::" in url:  # remote helpers such as ext::
        return Address(url=url, protocol=url.partition("::")[0])
    if match := _SCP.match(url):
        return Address(url=url, protocol="ssh", host=match["host"], username=match["user"])
    return Address(url=url, protocol="file")


def redact(text: str) -> str:
    """The text with user information taken out of every URL in it."""
    return _USERINFO.sub("", text)


def branch_ref(branch: str) -> str:
    """`refs/heads/<branch>`; `SpecError` for names git refuses, and for those it would take for options."""
    if not branch or len(branch) > 240 or _BAD_REF.search(branch) or branch == "@":
        raise SpecError(f"branch {branch!r}: not a name git can use; use letters, digits, '-', '_', '.', '/'")
    return f"refs/heads/{branch}"


def full_ref(ref: str) -> str:
    """A fully qualified ref (`refs/…` or `HEAD`), checked; `SpecError` otherwise."""
    if ref == "HEAD":
        return ref
    if not ref.startswith("refs/"):
        raise SpecError(f"ref {ref!r}: not fully qualified; write refs/heads/{ref.lstrip('-')}")
    branch_ref(ref)
    return ref


_OBJECT_ID = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")


def object_id(text: str) -> str:
    """A full object id, checked before it reaches a command line; `SpecError` otherwise."""
    if not _OBJECT_ID.match(text):
        raise SpecError(f"revision {text!r}: not a full commit id; write all 40 hex digits")
    return text


def file_path(path: str) -> str:
    """A path inside a repository, checked: relative, no '..', no '.git', no control characters."""
    parts = path.split("/")
    if (
        any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
        or "\0" in path
        or "\n" in path
    ):
        raise SpecError(f"path {path!r}: not a file inside a repository; write it like shop/staging/app.yaml")
    return path


def folder_path(folder: str) -> str:
    """A folder inside a repository without slashes at its ends; empty means the root."""
    folder = folder.strip("/")
    return "" if folder in ("", ".") else file_path(folder.removeprefix("./"))
