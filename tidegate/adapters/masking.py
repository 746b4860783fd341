"""Secrets never leave a step: every spelling of one in its output becomes `***`, across chunk borders too."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

MASK = "***"
SHORTEST = 4
"""Shorter secrets are not masked: they would tear ordinary words apart, and by that show what they are."""
_WRAPS = (64, 76)
"""Line lengths at which PEM and MIME tools break base64."""
_LONG_LINE = 8
"""A line of a secret with many lines is masked by itself from this length on."""


def _base64(secret: bytes) -> Iterator[str]:
    """Base64 of the secret at each of the three places it can have inside a longer text (`user:secret`).

    The first and last characters mix with the neighbours and are left out of the inner forms.
    """
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(secret).decode()
        yield whole
        yield whole.rstrip("=")
        for width in _WRAPS:
            yield from (whole[i : i + width] for i in range(0, len(whole), width) if len(whole) > width)
        for offset in range(3):
            text = encode(b"\0" * offset + secret).decode().rstrip("=")
            first = (0, 2, 3)[offset]
            last = len(text) if (len(secret) + offset) % 3 == 0 else len(text) - 1
            yield text[first:last]


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for safe in ("", "/", "/:@"):
        quoted = quote(secret, safe=safe)
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), quoted)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    raw = secret.encode("utf-8", "surrogateescape")
    yield from _base64(raw)
    yield raw.hex()


def forms(secret: str) -> frozenset[str]:
    """Texts that give it away: literal, base64 (three offsets, both alphabets), URL, JSON, HTML, hex."""
    stripped = secret.strip()
    if len(stripped) < SHORTEST:
        return frozenset()
    lines = [line.strip() for line in stripped.splitlines()]
    parts = [line for line in lines if len(line) >= _LONG_LINE] if len(lines) > 1 else []
    spelled = {form for text in (secret, stripped, *parts) for form in _spellings(text)}
    return frozenset(form for form in spelled if len(form) >= SHORTEST)


class Masker:
    """Masks a fixed set of secrets in texts and streams."""

    def __init__(self, secrets: Iterable[str | SecretStr] = ()) -> None:
        plain = (s.get_secret_value() if isinstance(s, SecretStr) else s for s in secrets)
        # longest first: a regular expression takes the first alternative; a short one must not cut a long one
        self._forms = sorted({f for s in plain for f in forms(s)}, key=lambda f: (-len(f), f))
        self._pattern = re.compile("|".join(map(re.escape, self._forms))) if self._forms else None
        self._longest = len(self._forms[0]) if self._forms else 0
        self._by_first: dict[str, list[str]] = {}
        for form in self._forms:
            self._by_first.setdefault(form[0], []).append(form)

    def mask(self, text: str) -> str:
        """The text without secrets; one that is cut at either end of the text is not seen."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def stream(self) -> Stream:
        """A stateful masker for one stream of chunks."""
        return Stream(self)

    def split(self, text: str) -> int:
        """Where to cut: everything before is free of forms that later text could complete."""
        if not self._pattern:
            return len(text)
        start = max(0, len(text) - self._longest + 1)
        cut = next((i for i in range(start, len(text)) if self._may_begin(text, i)), len(text))
        for found in self._pattern.finditer(text):
            if found.start() < cut < found.end():
                return found.start()
        return cut

    def _may_begin(self, text: str, at: int) -> bool:
        rest = len(text) - at
        return any(len(f) > rest and text.endswith(f[:rest]) for f in self._by_first.get(text[at], ()))


class Stream:
    """Text in, masked text out; holds back only a tail that may be the beginning of a secret."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = ""

    def feed(self, chunk: str) -> str:
        """What of the text so far can be shown."""
        text = self._held + chunk
        cut = self._masker.split(text)
        self._held = text[cut:]
        return self._masker.mask(text[:cut])

    def end(self) -> str:
        """The rest, when no more text comes."""
        rest, self._held = self._held, ""
        return self._masker.mask(rest)
