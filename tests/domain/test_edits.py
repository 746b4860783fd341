"""Promotion edits: one line per image, everything else as it was. Cases are folders in `golden/edits`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.domain.edits import repository, set_images
from tidegate.domain.release import Image
from tidegate.errors import SpecError

CASES = sorted(path.parent for path in (Path(__file__).parent / "golden" / "edits").glob("*/case.json"))
DIGEST = "sha256:" + "0123456789abcdef" * 4
SHOP = Image("registry.example/shop", DIGEST)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_edits_as_in_the_golden_folder(case: Path) -> None:
    told = json.loads((case / "case.json").read_text())
    before, images = _files(case / "before"), [Image(*pair) for pair in told["images"]]
    if told["error"]:
        with pytest.raises(SpecError) as caught:
            set_images(before, images, told["render"], values=told["values"])
        assert told["error"] in str(caught.value)
        return
    after = set_images(before, images, told["render"], values=told["values"])
    assert after == _files(case / "after")
    assert set_images({**before, **after}, images, told["render"], values=told["values"]) == {}


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("shop", "shop"),
        ("shop:1.0", "shop"),
        ("localhost:5000/shop", "localhost:5000/shop"),
        ("localhost:5000/shop:1.0", "localhost:5000/shop"),
        ("r.example/a/b:1@sha256:00", "r.example/a/b"),
    ],
)
def test_the_repository_of_a_reference_is_its_name_without_tag_and_digest(reference: str, name: str) -> None:
    assert repository(reference) == name


# -- properties ----------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
_COMMENTS = st.none() | _WORDS
_TAGS = st.sampled_from(["", ":1.0", ":latest", "@" + "sha256:" + "f" * 64, ":v2@sha256:" + "e" * 64])
_QUOTES = st.sampled_from(["", "'", '"'])


@st.composite
def _containers(draw: st.DrawFn) -> str:
    """One container, with the shop's image or another one, in one of the usual spellings."""
    quote, tag = draw(_QUOTES), draw(_TAGS)
    name = draw(st.sampled_from(["registry.example/shop", "registry.example/shop2", "other"]))
    note = draw(_COMMENTS)
    comment = f"  # {note}" if note else ""
    lines = [
        f"image: {quote}{name}{tag}{quote}{comment}",
        f"name: {json.dumps(draw(_WORDS), ensure_ascii=False)}",
    ]
    if draw(st.booleans()):
        lines.reverse()
    return "      - " + "\n        ".join(lines) + "\n"


@st.composite
def _manifests(draw: st.DrawFn) -> str:
    documents = []
    for _ in range(draw(st.integers(1, 3))):
        note = json.dumps(draw(_WORDS), ensure_ascii=False)
        text = f"# {draw(_WORDS)}\nkind: Deployment\nmetadata: {{name: x, note: {note}}}\n"
        text += "spec:\n  template:\n    spec:\n"
        for key in draw(st.lists(st.sampled_from(["containers", "initContainers"]), unique=True)):
            text += f"      {key}:\n" + "".join(draw(st.lists(_containers(), min_size=1, max_size=3)))
        documents.append(text)
    text = "---\n".join(documents)
    text = draw(st.sampled_from(["", "\ufeff"])) + text
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def _images_of(data: Any) -> list[str]:
    found: list[str] = []
    for document in data:
        spec = (document["spec"]["template"]["spec"]) or {}
        for key in ("containers", "initContainers"):
            found += [container["image"] for container in spec.get(key, [])]
    return found


def _load(text: bytes) -> Any:
    return list(yaml.load_all(text.decode("utf-8-sig"), Loader=yaml.CBaseLoader))


@settings(deadline=None)
@given(text=_manifests())
def test_only_the_image_changes_and_a_second_edit_changes_nothing(text: str) -> None:
    before = {"a.yaml": text.encode()}
    ours = [image for image in _images_of(_load(before["a.yaml"])) if repository(image) == SHOP.name]
    if not ours:
        with pytest.raises(SpecError):
            set_images(before, [SHOP], "plain")
        return
    after = before | set_images(before, [SHOP], "plain")
    expected = [str(SHOP) if repository(i) == SHOP.name else i for i in _images_of(_load(before["a.yaml"]))]
    assert _images_of(_load(after["a.yaml"])) == expected
    old, new = text.splitlines(), after["a.yaml"].decode().splitlines()
    differing = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(differing) == sum(image != str(SHOP) for image in ours)
    for was, now in differing:
        assert was.partition("  # ")[2] == now.partition("  # ")[2]
    assert set_images(after, [SHOP], "plain") == {}


@st.composite
def _kustomizations(draw: st.DrawFn) -> str:
    """An entry for the shop among others, with any of newTag, digest and comments."""
    text = f"# {draw(_WORDS)}\nimages:\n"
    for name in draw(st.permutations(["registry.example/shop", "other", "registry.example/shop2"])):
        lines = [f"name: {name}"]
        lines += ["newTag: '1.0'"] if draw(st.booleans()) else []
        lines += [f"digest: sha256:{'d' * 64}"] if draw(st.booleans()) else []
        lines = [line + draw(st.sampled_from(["", "  # ü"])) for line in lines]
        text += "- " + "\n  ".join(lines) + "\n"
    return text + draw(st.sampled_from(["", "resources: [a.yaml]\n", "# end"]))


@settings(deadline=None)
@given(text=_kustomizations())
def test_only_one_entry_of_a_kustomization_changes(text: str) -> None:
    before = {"kustomization.yaml": text.encode()}
    after = before | set_images(before, [SHOP], "kustomize")
    old, new = _load(before["kustomization.yaml"])[0], _load(after["kustomization.yaml"])[0]
    for was, now in zip(old["images"], new["images"], strict=True):
        assert now == ({"name": SHOP.name, "digest": DIGEST} if was["name"] == SHOP.name else was)
    assert {key: old[key] for key in old if key != "images"} == {
        key: new[key] for key in new if key != "images"
    }
    assert text.count("#") == after["kustomization.yaml"].decode().count("#")
    assert set_images(after, [SHOP], "kustomize") == {}


def test_a_chart_in_the_stages_folder_is_edited_in_its_values_alone() -> None:
    files = {
        "charts/shop/Chart.yaml": b"name: shop\n",
        "charts/shop/values.yaml": b"image: registry.example/shop:1\n",
        "charts/shop/templates/web.yaml": b"{{- if .Values.image }}\nimage: x\n{{- end }}\n",
        "charts/shop/charts/db/values.yaml": b"image: registry.example/db:1\n",
    }
    changed = set_images(files, [SHOP], "helm", values="image")
    assert changed == {"charts/shop/values.yaml": f"image: {SHOP}\n".encode()}
