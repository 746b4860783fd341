"""Bytes that may be YAML: UTF-8 without NUL, within the size limit. What fails here was never parsed."""

from __future__ import annotations

from tidegate.yaml_reader.limits import Limits, fail_at, too_large


def checked_text(text: bytes, source: str, limits: Limits) -> bytes:
    """The text without its byte order mark, when it is UTF-8 without NUL and within the size limit."""
    if len(text) > limits.size:
        raise too_large(source, len(text), limits)
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        fail_at(source, 1, 1, "the file is UTF-16", "save it as UTF-8")
    body = text.removeprefix(b"\xef\xbb\xbf")
    if (nul := body.find(b"\0")) >= 0:
        fail_at(source, *place(body, nul), "a NUL byte", "is this a text file? remove the byte")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        what = f"byte 0x{body[error.start]:02x} is not UTF-8"
        fail_at(source, *place(body, error.start), what, "save the file as UTF-8")
    if body.count(b"\n%") > 100:  # libyaml compares each %TAG with all before it: quadratic
        fail_at(source, *place(body, body.find(b"\n%") + 1), "more than 100 directives (%)", "remove them")
    return body


def place(body: bytes, offset: int) -> tuple[int, int]:
    """Line and column, from 1, in characters, of a byte offset."""
    start = body.rfind(b"\n", 0, offset) + 1
    return body.count(b"\n", 0, offset) + 1, len(body[start:offset].decode(errors="replace")) + 1
