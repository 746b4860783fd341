"""Kubernetes objects as data: reading, normal form, the files of the rendered branch."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.domain.manifests import (
    Ref,
    dump,
    files,
    images,
    is_masked,
    normal,
    parse,
    pod_template,
    read,
    ref,
)
from tidegate.errors import SpecError


def config_map(name: str = "a", namespace: str | None = "shop", **data: str) -> dict[str, Any]:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def secret(name: str = "s", **values: str) -> dict[str, Any]:
    data = {k: base64.b64encode(v.encode()).decode() for k, v in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "shop"},
        "data": data,
    }


def test_a_ref_reads_like_people_say_it_and_ignores_the_version() -> None:
    web = ref(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}
    )
    assert str(web) == "Deployment shop/web"
    assert web == Ref("apps", "Deployment", "shop", "web", version="v2")
    assert (web.version, web.api_version) == ("v1", "apps/v1")
    assert str(Ref("", "Namespace", "", "shop")) == "Namespace shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "x.yaml:1:1: not a Kubernetes object"),
        ("kind: ConfigMap\nmetadata: {name: a}", "apiVersion is missing"),
        ("apiVersion: v1\nmetadata: {name: a}", "kind is missing"),
        ("apiVersion: 1\nkind: ConfigMap", "x.yaml:1:13: apiVersion is 1, not text; put it in quotes"),
        ("apiVersion: v1\nkind: ConfigMap", "metadata is missing"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 5",
            "x.yaml:4:9: ConfigMap: metadata.name is 5, not text; put it in quotes",
        ),
        (
            "apiVersion: v1\nkind: Y\nmetadata: {name: a}",
            "x.yaml:2:7: kind is true, not text; put it in quotes",
        ),
        ("apiVersion: v1\nkind: [A]", "kind is not text"),
        ("apiVersion: v1\nkind: A\nmetadata: {name: 1e3}", "x.yaml:3:18: A: metadata.name is 1000, not text"),
        ("apiVersion: v1\nkind: A\nmetadata: {name: off}", "metadata.name is false, not text"),
        ("apiVersion: v1\nkind: A\nmetadata: {labels: {}}", "A: metadata.name is missing; give it a name"),
        (
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}",
            "x.yaml:4:3: a List inside a List; write the objects as documents of their own",
        ),
        ("apiVersion: v1\nkind: Job\nmetadata: {generateName: a-}", "generateName cannot be applied twice"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    on: yes",
            "x.yaml:6:9: the label true is true, not text; put it in quotes",
        ),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text.encode(), "x.yaml")
    assert said in str(caught.value)


def test_all_problems_of_a_file_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        read(b"kind: A\n---\nkind: B\n", "x.yaml")
    assert [p.line for p in caught.value.problems] == [1, 3]


def test_a_list_is_opened_once_and_exported_fields_are_dropped() -> None:
    text = b"""
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a, uid: x, resourceVersion: "5", creationTimestamp: null, managedFields: []}
  status: {}
"""
    assert read(text, "x.yaml") == [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]


def test_normal_form_is_what_the_server_answers() -> None:
    made = normal({**secret(a="1"), "stringData": {"b": "2", "c": None}})
    assert made["data"] == {"a": "MQ==", "b": "Mg==", "c": ""}
    assert "stringData" not in made
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80}]}}
    assert normal(service)["spec"]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert "protocol" not in service["spec"]["ports"][0], "the input is not changed"


def test_images_come_from_pod_templates_of_every_workload() -> None:
    pod = {"initContainers": [{"image": "i"}], "containers": [{"image": "c"}]}
    job = {"template": {"spec": pod}}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {},
        "spec": {"jobTemplate": {"spec": job}},
    }
    assert images(cron) == ("i", "c")
    assert images({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": pod}) == ("i", "c")
    assert pod_template(config_map()) is None


# --- rendered branch ----------------------------------------------------------------------------------------


def test_files_are_named_so_that_no_two_objects_meet() -> None:
    objects = [
        config_map("a-b"),
        config_map("a-b", namespace=None),
        {**config_map("a-b"), "apiVersion": "x.my/v1"},
        {**config_map("corp.io_a"), "apiVersion": "x.my/v1"},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:a/b"},
        },
    ]
    assert sorted(files(objects, key=b"k")) == [
        "_/clusterrole.rbac.authorization.k8s.io_system%3Aa%2Fb.yaml",
        "_/configmap_a-b.yaml",
        "shop/configmap.x.my_a-b.yaml",
        "shop/configmap.x.my_corp.io_a.yaml",
        "shop/configmap_a-b.yaml",
    ]


def test_secret_values_never_enter_the_branch_and_come_back_masked() -> None:
    tree = files([secret(password="hunter2hunter2", user="admin")], key=b"installation")
    text = b"".join(tree.values())
    assert b"hunter2" not in text
    assert base64.b64encode(b"hunter2hunter2")[:8] not in text
    (back,) = parse(tree)
    assert is_masked(back)
    assert files([back], key=b"other key") == tree, "masking what is masked changes nothing"


def test_digests_tell_equal_from_changed_and_nothing_else() -> None:
    def digests(key: bytes, **values: str) -> dict[str, str]:
        (back,) = parse(files([secret(**values)], key=key))
        data: dict[str, str] = back["data"]
        return data

    assert digests(b"k", a="1") == digests(b"k", a="1")
    assert digests(b"k", a="1") != digests(b"k", a="2")
    assert digests(b"k", a="1") != digests(b"K", a="1")
    same = digests(b"k", a="1", b="1")
    assert same["a"] != same["b"], "two equal secrets must not show that they are equal"


def test_plain_objects_are_not_masked() -> None:
    assert not is_masked(config_map(a="hmac-sha256:" + "0" * 32))
    assert not is_masked(secret(a="1"))


@pytest.mark.parametrize(
    "text",
    [
        *("y", "n", "yes", "NO", "on", "Off", "true", "null", "~", "1", "1.10", "1e3", "0o17", "0x1F", "017"),
        *("12:30:45", "1_000", ".inf", "<<"),
        "",
        " a",
        "a ",
        "a: b",
        "- a",
        "2026-01-01",
        "a\nb\n",
        "a\n\n",
        "\ta\nb",
        "ü",
        "a #b",
        "*x",
        "=",
        "%a",
        "\x85",
    ],
)
def test_every_text_stays_text_on_the_branch(text: str) -> None:
    assert parse({"x.yaml": dump(config_map(a=text))}) == [config_map(a=text)]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abz-./é~", min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, print_blob=True)
@given(spec=st.dictionaries(st.text("abcN", min_size=1, max_size=4), json_values, max_size=4))
def test_what_is_written_is_read_back_exactly(spec: dict[str, Any]) -> None:
    obj = {"apiVersion": "x.io/v1", "kind": "Y", "metadata": {"name": "n"}, "spec": spec}
    try:
        text = dump(obj)
    except UnicodeEncodeError:
        return
    if any(ord(c) < 32 and c not in "\n\r\t" for c in text.decode()):
        return
    assert parse({"x.yaml": text}) == [obj]
