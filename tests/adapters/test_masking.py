"""A secret is found in every spelling, wherever the chunks of a stream break."""

import base64
import json
import random
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.adapters.masking import Masker

SECRET = "pa55/w+rd&ünïcode=?"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEA\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET),
        repr(SECRET),
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_every_spelling_of_a_secret_is_masked(spelled: str) -> None:
    masked = Masker([SECRET]).mask(f"before {spelled} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert spelled.strip("\"'") not in masked
    assert "***" in masked


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "somebody"])
@pytest.mark.parametrize("suffix", ["", "\n", ":x", ":xy"])
def test_a_secret_inside_a_longer_base64_text_is_masked(user: str, suffix: str) -> None:
    text = base64.b64encode(f"{user}:hunter2-secret{suffix}".encode()).decode()
    shown = (
        Masker(["hunter2-secret"]).mask(f"Authorization: Basic {text}").removeprefix("Authorization: Basic ")
    )
    assert "***" in shown
    assert len(shown.replace("***", "")) <= len(text) - 16


def test_each_line_of_a_key_is_masked() -> None:
    masker = Masker([KEY])
    assert masker.mask("  MIIEvQIBADANBgkqhkiG9w0\r\n") == "  ***\r\n"
    assert "BAQEFAASC" not in masker.mask(KEY.replace("\n", "\r\n"))


def test_a_longer_secret_wins_over_the_shorter_one_it_begins_with() -> None:
    assert Masker(["abcd", "abcdefgh"]).mask("abcdefgh abcd") == "*** ***"


def test_very_short_secrets_do_not_tear_words_apart() -> None:
    assert Masker(["a", "", " \n"]).mask("a banana") == "a banana"


def test_a_stream_holds_back_only_what_may_become_a_secret() -> None:
    stream = Masker(["hunter2-secret"]).stream()
    assert stream.feed("hello\n") == "hello\n"
    assert stream.feed("x hunter2") == "x "
    assert stream.feed("-") == ""
    assert stream.feed("horse\n") == "hunter2-horse\n"
    assert stream.feed("hunter") == ""
    assert stream.end() == "hunter"


@given(
    parts=st.lists(
        st.sampled_from(["abab", "ababc", "cdab", "xabcdz", "ab", "a", "b", "c", "d", "z", "\n"]), max_size=30
    ),
    seed=st.integers(0, 2**32),
)
def test_a_stream_shows_no_secret_however_it_is_cut(parts: list[str], seed: int) -> None:
    secrets = ["abab", "ababc", "bcdab", "xabcdz", "dzzz"]
    text = "".join(parts)
    rng = random.Random(seed)
    stream, shown, at = Masker(secrets).stream(), "", 0
    while at < len(text):
        size = rng.randint(1, 4)
        shown += stream.feed(text[at : at + size])
        at += size
    shown += stream.end()
    assert not [s for s in secrets for piece in shown.split("***") if s in piece]
    if not any(s in text for s in secrets):
        assert shown == text


def test_a_large_key_does_not_make_the_stream_slow() -> None:
    rng = random.Random(7)
    key = "\n".join("".join(rng.choices("ABCDEFGHabcdefgh0123", k=64)) for _ in range(40))
    stream = Masker([key]).stream()
    started = time.monotonic()
    for _ in range(50):
        stream.feed("".join(rng.choices("ABCDEFGHabcdefgh0123 \n", k=4096)))
    assert time.monotonic() - started < 5
