"""Text that people and attackers write, as the data kubectl would send, or as one sentence with its place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.errors import SpecError
from tidegate.yaml_reader import Limits, read, read_file

SCALARS = [
    *("y", "Y", "yes", "n", "No", "on", "Off", "true", "TRUE", "tRUE", "~", "null", "", "NULL", "nULL"),
    *("0", "-1", "+1", "0644", "0o644", "0O17", "0x1F", "0X1f", "0b11", "017", "-017", "089", "08", "1_000"),
    *("0_17", "1_", "_1", "+_1", "0x", "0o8", "0x_", "0b2", "0x1_F", "00", "-0", "+", "-", ".", ".."),
    *("1.5", "1.", ".5", "+.5", "-.5", "1e3", "1E3", "1e-3", "1.0", "1000000.0", "1e20", "1.e1", "5e", "e5"),
    *("1_0.5", ".5_0", "1e+3", "12e03", "1.2.3", "1:30", "12:30:45", "-1:30", "190:20:30", "2020-01-01"),
    *(
        "2001-12-14t21:59:43.10-05:00",
        "2001-12-14 21:59:43",
        "1,000",
        "0.0.0.0",
        "1.5m",
        "100Mi",
        "v1",
        "<<x",
    ),
    *(
        "9223372036854775807",
        "-9223372036854775808",
        "0x7fffffffffffffff",
        "yEs",
        "oN",
        "'1'",
        '"y"',
        "!!str 12",
    ),
    *(
        "!!int 3",
        "!!float 3",
        "._5",
        ".5_",
        ".5__0",
        ".5e1_0",
        "=",
        "1__0",
        "0__",
        "1e_3",
        "inf",
        "nan",
        "0.",
        "0e0",
        "1e21",
        "123456789e-9",
    ),
]


def value(text: str) -> Any:
    return read(f"v: {text}\n".encode(), "test.yaml")[0].data["v"]


def problem(text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        read(text.encode() if isinstance(text, str) else text, "test.yaml")
    message = str(caught.value)
    assert "\n" not in message, "one sentence"
    assert message.startswith("test.yaml:")
    assert len(message) < 300
    return message


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is the oracle here; it is not on PATH")
def test_every_plain_scalar_is_what_kubectl_sends() -> None:
    lines = [f"  - {text}" for text in SCALARS]
    manifest = "\n".join(["apiVersion: x/v1", "kind: X", "metadata: {name: x}", "values:", *lines, ""])
    oracle = ["kubectl", "label", "--local", "--dry-run=client", "-o", "json", "-f", "-", "a=b"]
    answer = subprocess.run(oracle, input=manifest, capture_output=True, text=True, check=True, timeout=30)
    expected = json.loads(answer.stdout)["values"]
    ours = read(manifest.encode(), "x")[0].data["values"]
    assert {t: repr(v) for t, v in zip(SCALARS, ours, strict=True)} == {
        # Go writes 1e20 as 100000000000000000000, which does not fit an int64; both are the same JSON number
        t: repr(float(v)) if isinstance(v, int) and not -(2**63) <= v < 2**63 else repr(v)
        for t, v in zip(SCALARS, expected, strict=True)
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("off", False),
        ("0644", 420),
        ("0o644", 420),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1e3", 1000),
        ("1_000", 1000),
        ("089", 89),
        ("y", True),
        ("N", False),
        ("0o17", 15),
        ("017", 15),
        ("12:30:45", "12:30:45"),
        ("2001-12-14 21:59:43", "2001-12-14 21:59:43"),
        ("~", None),
        ("=", "="),
    ],
)
def test_scalars_stock_loaders_get_wrong(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_keys_are_text_as_in_json() -> None:
    assert read(b"on: 1\n0644: 2\n1.5: 3\n'~': 4\n", "x")[0].data == {"true": 1, "420": 2, "1.5": 3, "~": 4}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: the key 'a' is written twice, first in line 1; keep one of them"),
        ("1: x\n'1': y\n", "2:1: the key '1' is written twice"),
        ("a: 99999999999999999999\n", "1:4: 99999999999999999999 does not fit in 64 bits; put it in quotes"),
        ("a: 9223372036854775808\n", "does not fit in 64 bits"),
        ("a: .inf\n", "1:4: .inf is not a JSON number"),
        ("y: 1\n'true': 2\n", "2:1: the key 'true' is written twice, first in line 1"),
        ("a: 1e999\n", "does not fit in 64 bits"),
        ("a: -.inf\n", "1:4: -.inf is not a JSON number"),
        ("a: .nan\n", "is not a JSON number"),
        ("a: !Ref web\n", "1:4: the tag '!Ref' is not supported"),
        ("a: !!python/object:os.system {}\n", "the tag '!!python/object:os.system' is not supported"),
        ("a: !!binary aGk=\n", "the tag '!!binary' is not supported"),
        ("a: !!int x\n", "1:4: 'x' is not of type int"),
        ("a:\n\tb: 1\n", "2:1: a tab in the indentation; YAML indents with spaces"),
        ("a: [1, 2\n", "1:4: a '[' is never closed"),
        ("a: 'x\n", "1:4: a quote is never closed; close it"),
        ("a: b: c\n", "1:5: a ':' where no key can start"),
        ("a: *b\n", "1:4: an alias names an anchor that is not there"),
        ("a: &a [*a]\n", "1:4: an alias names the part it stands in"),
        ("? [a]\n: b\n", "a list or map used as a key"),
        ("~: 1\n", "1:1: a key without a name (null)"),
        ("a: @b\n", "1:4: text cannot start with '@'; put it in quotes"),
        ("- a\nb: c\n", "2:1: this is not part of the list above it"),
        ("<<: 3\n", "'<<' merges something that is not a map"),
        (b"a: b\0c\n", "1:5: a NUL byte"),
        (b"a: \xff\n", "1:4: byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"a: \x01\n", "1:4: the control character U+0001"),
        ("a: b\n".encode("utf-16"), "1:1: the file is UTF-16; save it as UTF-8"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(text: str | bytes, sentence: str) -> None:
    assert sentence in problem(text)


def test_a_byte_order_mark_is_not_part_of_the_first_key() -> None:
    assert read("﻿a: 1\n".encode(), "x")[0].data == {"a": 1}


def test_aliases_and_merges_give_data_of_their_own() -> None:
    data = read(b"base: &b {x: [1], z: 2}\none: {<<: *b, z: 3}\ntwo: *b\n", "x")[0].data
    assert data["one"] == {"x": [1], "z": 3}
    data["two"]["x"].append(2)
    assert data["base"]["x"] == [1] == data["one"]["x"]


def test_documents_without_content_are_left_out_and_lines_stay_right() -> None:
    documents = read(b"# nothing\n---\na: 1\n---\n---\n# still\nb: 2\n", "x")
    assert [(d.data, d.line) for d in documents] == [({"a": 1}, 3), ({"b": 2}, 7)]
    assert documents[1].position(("b",)) == (7, 4)


def test_positions_lead_to_keys_and_values() -> None:
    document = read(b"stages:\n  - name: a\n    path: x\n  - {name: b, 'on': [1, {y: 2}]}\n", "x")[0]
    assert document.position(("stages", 0, "path")) == (3, 11)
    assert document.position(("stages", 0, "path"), key=True) == (3, 5)
    assert document.position(("stages", 1, "on", 1, "true"), key=True) == (4, 26)
    assert document.position(("stages", 1, "nowhere", 3)) == (4, 5), "the nearest parent there is"
    assert document.position(()) == (1, 1)


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as stream:
        stream.truncate(100 * 2**20)
    with pytest.raises(
        SpecError, match=r"big.yaml:1:1: the file has 100.0 MiB, the limit is 10 MiB; split it"
    ):
        read_file(path)
    with pytest.raises(SpecError, match="not a regular file"):
        read_file(tmp_path)
    with pytest.raises(SpecError, match="cannot be read: no such file"):
        read_file(tmp_path / "missing.yaml")


RSS_UNIT = 1 if sys.platform == "darwin" else 1024
BOMBS: dict[str, str] = {
    "flow lists": "b'['*10**7",
    "flow maps": "b'{a: '*10**6",
    "flow mix": "b'[{'*10**6",
    "lists in one line": "b'- '*10**6",
    "keys in one line": "b'? '*10**6",
    "deep indentation": "b''.join(b' '*i+b'a:\\n' for i in range(4000))",
    "deep blocks under flow": "b'- '*90+b'['*90",
    "wide list": "b'['+b'a,'*4900000",
    "many documents": "b'---\\n[]\\n'*10**6",
    "aliases": "b'a: &a [x,x,x,x,x,x,x,x,x,x]\\n'"
    "+b''.join(b'%c: &%c [%s]\\n'%(97+i,97+i,b','.join([b'*%c'%(96+i)]*10)) for i in range(1,9))",
    "aliases of long text": "b'a: &a '+b'x'*10**6+b'\\nb: ['+b'*a,'*10**6+b']'",
    "aliased keys": "b'a: &a '+b'x'*900+b'\\nb: ['+b'{*a : 1},'*10**6+b']'",
    "tower of aliases": "b'a0: &a0 [x]\\n'+b''.join(b'a%d: &a%d [*a%d]\\n'%(i,i,i-1) for i in range(1,3000))",
    "merges": "b'a: &a {'+b','.join(b'k%d: 1'%i for i in range(1000))+b'}\\nb: ['+b'{<<: *a},'*10**5+b']'",
    "directives": "b'\\n'.join(b'%%TAG !a%d! x'%i for i in range(400000))",
    "long hex number": "b'a: 0x'+b'1'*9000000+b'x\\nb: [',",
    "long number": "b'a: '+b'1'*9000000",
    "long almost float": "b'a: 1e'+b'_'*9000000+b'x\\nb: ['",
    "long tag": "b'a: !'+b'x'*9000000",
    "100 MB": "b'a'*10**8",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_in_one_sentence_quickly_with_flat_memory(bomb: str) -> None:
    """In a child, so that a crash of the C parser is a failure of this test and memory is its own."""
    script = f"""
import resource, sys, time
from tidegate.errors import SpecError
from tidegate.yaml_reader import read
text = {BOMBS[bomb].rstrip(",")}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
try:
    read(text, "bomb.yaml")
except SpecError as error:
    print(str(error)[:200])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * {RSS_UNIT} // 2**20)
    print(time.process_time() - began)
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    sentence, grown, seconds = child.stdout.splitlines()
    assert sentence.startswith("bomb.yaml:")
    assert int(grown) < 160, "MiB"
    assert float(seconds) < 10


def test_limits_can_be_set_by_the_caller() -> None:
    with pytest.raises(SpecError, match="more than 2 documents"):
        read(b"---\na\n---\nb\n---\nc\n", "x", limits=Limits(documents=2))
    with pytest.raises(SpecError, match="nested more than 3 levels"):
        read(b"a: {b: {c: {d: 1}}}", "x", limits=Limits(depth=3))


json_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | json_text
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_text, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(json_text, json_values, max_size=5))
@example({"~": "y", "1:30": "0644", " ": "# no comment"})
def test_json_is_read_as_json(data: dict[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False)
    assert read(text.encode(), "x")[0].data == json.loads(text)


@given(json_values)
def test_what_a_yaml_writer_writes_is_read_back(data: Any) -> None:
    """Text in quotes, because PyYAML writes plain what only goyaml reads as a number."""

    class Quoted(yaml.SafeDumper):
        pass

    Quoted.add_representer(str, lambda d, s: d.represent_scalar("tag:yaml.org,2002:str", s, style='"'))
    documents = read(yaml.dump({"v": data}, Dumper=Quoted, width=10**6).encode(), "x")
    assert documents[0].data == {"v": data}


yaml_ish = st.text(st.sampled_from(list("ab01:-?[]{}&*!|>'\"%@`#,~<._ \t\n\r\\\0﻿é\x85\x01")), max_size=60)


@given(yaml_ish.map(str.encode) | st.binary(max_size=60))
@example(b"a: &a {<<: *a}")
@example(b"!!str [a]")
@example(b"? !!int {}")
@example(b"!<tag:yaml.org,2002:null> x")
@example(b"--- !!map\n...")
@example(b'"\\ud800": 1')
@example(b"%YAML 9.9\n---\na")
@example(b"{<<, a}")
@example(b"!!bool maybe: 1")
@example(b"\xef\xbb\xbf\xef\xbb\xbfa")
def test_any_bytes_are_data_or_one_sentence(text: bytes) -> None:
    try:
        documents = read(text, "x")
    except SpecError as error:
        complaint = error
        documents = []
    else:
        complaint = None
    assert complaint is None or (len(complaint.problems) == 1 and "\n" not in str(complaint))
    for document in documents:
        json.dumps(document.data, allow_nan=False).encode()
        assert document.position(()) >= (1, 1)
