"""Reads what registries answer: digests, offsets, pauses, reasons, and the failures of `requests`."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tidegate.errors import Rejected, Unreachable

if TYPE_CHECKING:
    import requests


@dataclass(slots=True)
class Translated:
    """Turns what requests raises into `Unreachable`; says the kind of failure and no URL."""

    about: str
    seconds: float

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        import requests

        if not isinstance(error, requests.RequestException):
            return
        if isinstance(error, requests.exceptions.SSLError):
            raise Rejected(f"{self.about}: its certificate was not accepted") from error
        if isinstance(error, requests.Timeout):
            raise Unreachable(f"{self.about}: no answer within {self.seconds:g} s") from error
        raise Unreachable(f"{self.about}: {_failure(error)}") from error


def _failure(error: BaseException) -> str:
    text = str(error)
    known = (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "unknown host"),
        ("nodename nor servname", "unknown host"),
        ("Temporary failure in name resolution", "the name could not be resolved"),
        ("NameResolution", "the name could not be resolved"),
        ("reset by peer", "the connection was reset"),
    )
    return next((said for part, said in known if part in text), "the connection was lost")


def scope_of(path: str, actions: str) -> str:
    found = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", path)
    return f"repository:{found[1]}:{actions}" if found else ""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def header_digest(response: requests.Response) -> str:
    digest = response.headers.get("Docker-Content-Digest", "")
    return digest if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) else ""


def next_offset(response: requests.Response, otherwise: int) -> int:
    """`Range: 0-N` means N + 1 bytes are there; `0-0` is also how an empty upload is told."""
    found = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("Range", ""))
    if not found:
        return otherwise
    return int(found[1]) + 1 if int(found[1]) else 0


def bounded(response: requests.Response, limit: int) -> Iterator[bytes]:
    total = 0
    for data in response.iter_content(65536):
        total += len(data)
        if total > limit:
            raise Rejected(f"a manifest of more than {limit >> 20} MiB is none")
        yield data


def retry_after(response: requests.Response) -> float | None:
    """Seconds from `Retry-After`, which is a number or a date (RFC 9110)."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def reason(response: requests.Response) -> str:
    """The registry's own words, bounded; never the request."""
    try:
        first = response.json()["errors"][0]
        said = f"{first.get('code', '')} {first.get('message', '')}".strip()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    return f" {said[:200]}" if said else ""
