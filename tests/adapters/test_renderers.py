"""Folders become manifests: plain ones by reading, kustomizations by the real binary in a cage."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.adapters.renderers import kustomize, plain
from tidegate.errors import PluginError, Rejected, SpecError
from tidegate.plugins import kinds
from tidegate.settings import settings

A = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1e3'}\n"
B = A.replace(b"name: a", b"name: b")


def names(manifests: list[dict[str, dict[str, str]]]) -> list[str]:
    return [m["metadata"]["name"] for m in manifests]


# --- plain --------------------------------------------------------------------------------------------------


def test_the_folder_is_the_registry() -> None:
    assert kinds("renderers") == ("helm", "kustomize", "plain")


def test_plain_reads_yaml_and_json_of_the_folder_itself() -> None:
    files = {
        "shop/staging/b.yml": B,
        "shop/staging/a.yaml": A,
        "shop/staging/c.json": b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}',
        "shop/staging/README.md": b"not a manifest",
        "shop/staging/deeper/d.yaml": B,
        "shop/staging-eu/e.yaml": B,
    }
    assert names(plain.build(plain.Settings()).render(files, "shop/staging")) == ["a", "b", "c"]


def test_plain_goes_deeper_when_asked() -> None:
    files = {"shop/a.yaml": A, "shop/x/y/b.yaml": B}
    assert names(plain.build(plain.Settings(recurse=True)).render(files, "shop")) == ["a", "b"]


def test_plain_reads_the_root_of_the_repository() -> None:
    assert names(plain.build(plain.Settings()).render({"a.yaml": A, "x/b.yaml": B}, "")) == ["a"]


def test_plain_tells_every_problem_of_every_file_at_once() -> None:
    files = {"shop/a.yaml": b"kind: A\n", "shop/b.yaml": A + b"---\napiVersion: v1\n"}
    with pytest.raises(SpecError) as caught:
        plain.build(plain.Settings()).render(files, "shop")
    assert [(p.file, p.line) for p in caught.value.problems] == [("shop/a.yaml", 1), ("shop/b.yaml", 6)]


def test_an_object_written_twice_is_told_with_both_places() -> None:
    with pytest.raises(SpecError, match=r"shop/b\.yaml:1: ConfigMap a is already written in shop/a\.yaml:1"):
        plain.build(plain.Settings()).render({"shop/a.yaml": A, "shop/b.yaml": A}, "shop")


def test_a_folder_without_manifests_says_what_to_put_there() -> None:
    with pytest.raises(SpecError, match="shop: no manifests; put"):
        plain.build(plain.Settings()).render({"books/a.yaml": A}, "shop")


# --- kustomize ----------------------------------------------------------------------------------------------


@pytest.fixture
def binary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real kustomize, also where `make test` and `go install` put it."""
    places = (Path(sys.executable).parent / "kustomize", Path.home() / "go" / "bin" / "kustomize")
    installed = next((place for place in places if place.exists()), None)
    if "TIDEGATE_KUSTOMIZE" not in os.environ and shutil.which("kustomize") is None and installed:
        monkeypatch.setenv("TIDEGATE_KUSTOMIZE", str(installed))
    settings.cache_clear()
    if not (settings().kustomize or shutil.which("kustomize") or shutil.which("kubectl")):
        pytest.skip("neither kustomize nor kubectl is on PATH, and TIDEGATE_KUSTOMIZE names none")
    yield
    monkeypatch.undo()
    settings.cache_clear()


def render(files: dict[str, bytes], folder: str = "prod", timeout: float = 25) -> list[str]:
    return names(kustomize.build(kustomize.Settings(timeout=timeout)).render(files, folder))


def based(kustomization: bytes) -> dict[str, bytes]:
    return {
        "base/kustomization.yaml": b"resources: [a.yaml]\n",
        "base/a.yaml": A,
        "prod/kustomization.yaml": kustomization,
    }


@pytest.mark.usefixtures("binary")
def test_an_overlay_over_a_base_is_built() -> None:
    assert render(based(b"resources: [../base]\nnamePrefix: p-\n")) == ["p-a"]


@pytest.mark.usefixtures("binary")
@pytest.mark.parametrize("folder", ["--enable-helm", "$(touch x)", "a b;c", "-o=x"])
def test_names_of_folders_are_never_arguments(folder: str) -> None:
    files = {f"{folder}/kustomization.yaml": b"resources: [a.yaml]\n", f"{folder}/a.yaml": A}
    assert render(files, folder) == ["a"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_kubectl_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_KUSTOMIZE", str(shutil.which("kubectl")))
    settings.cache_clear()
    try:
        assert render(based(b"resources: [../base]\nnamePrefix: p-\n")) == ["p-a"]
        assert kustomize.build(kustomize.Settings()).tool().version.startswith("v")
    finally:
        monkeypatch.undo()
        settings.cache_clear()


@pytest.mark.usefixtures("binary")
def test_functions_in_annotations_are_not_run() -> None:
    annotated = A.replace(
        b"{name: a}", b"{name: a, annotations: {config.kubernetes.io/function: '{exec: {path: ./run.sh}}'}}"
    )
    files = based(b"resources: [../base]\n") | {
        "base/a.yaml": annotated,
        "base/run.sh": b"#!/bin/sh\nexit 3\n",
    }
    assert render(files) == ["a"]


@pytest.mark.usefixtures("binary")
def test_values_survive_the_way_through_kustomize() -> None:
    (made,) = kustomize.build(kustomize.Settings()).render(based(b"resources: [../base]\n"), "prod")
    assert made["data"] == {"x": "1e3"}


@pytest.mark.usefixtures("binary")
def test_what_kustomize_says_is_passed_on_without_our_scratch_paths() -> None:
    with pytest.raises(Rejected, match="prod: kustomize failed: ") as caught:
        render(based(b"resources: [../nope]\n"))
    assert "tidegate-render" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"helmCharts: [{name: x}]", "prod/kustomization.yaml:1:1: helmCharts is not allowed here"),
        (b"helmGlobals: {configHome: /x}", "helmGlobals is not allowed"),
        (b"generators: [g.yaml]", "generators is not allowed"),
        (b"transformers: [t.yaml]", "transformers is not allowed"),
        (b"validators: [v.yaml]", "validators is not allowed"),
        (
            b"resources: [https://x.example/y.yaml]",
            "prod/kustomization.yaml:1:13: 'https://x.example/y.yaml' is",
        ),
        (b"resources: ['github.com/a/b?ref=main']", "not in this repository"),
        (b"resources: ['git@x.example:a/b']", "not in this repository"),
        (b"resources: ['git::https://x.example/b']", "not in this repository"),
        (b"components: ['ssh://x.example/b']", "not in this repository"),
        (b"patches: [{path: 'https://x.example/p.yaml'}]", "not in this repository"),
        (b"resources: ['--upload-pack=touch x']", "'--upload-pack=touch x' is not in this repository"),
        (b"resources: ['/etc']", "'/etc' is not in this repository"),
    ],
)
def test_what_could_run_or_fetch_something_is_refused_by_name(text: bytes, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        render(based(text))
    assert said in str(caught.value)


def test_a_base_is_checked_like_the_stage_itself() -> None:
    files = based(b"resources: [../base]\n")
    files["base/kustomization.yaml"] = b"resources: [a.yaml, 'https://x.example/y']\n"
    with pytest.raises(SpecError, match=r"base/kustomization\.yaml:1:21"):
        render(files)


@pytest.mark.usefixtures("binary")
def test_files_outside_the_kustomization_are_not_read() -> None:
    files = based(b"configMapGenerator: [{name: x, files: [../secret.txt]}]\n") | {"secret.txt": b"hunter2"}
    with pytest.raises(
        SpecError, match=r"prod/kustomization\.yaml:1:40: '\.\./secret\.txt' is outside"
    ) as caught:
        render(files)
    assert "hunter2" not in str(caught.value)
    files["prod/kustomization.yaml"] = b"configMapGenerator: [{name: x, envs: [/etc/hostname]}]\n"
    with pytest.raises(Rejected, match="prod: kustomize failed"):
        render(files)


@pytest.mark.usefixtures("binary")
def test_only_the_folders_a_kustomization_is_made_of_are_looked_at() -> None:
    files = based(b"resources: [../base]\ncomponents: [../parts/x]\n")
    files["parts/x/kustomization.yaml"] = (
        b"kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nnamePrefix: p-\n"
    )
    files["other/kustomization.yaml"] = b"helmCharts: [{name: x}]\n"
    assert render(files) == ["p-a"]


def test_a_base_outside_the_repository_is_refused_by_name() -> None:
    with pytest.raises(
        SpecError, match=r"prod/kustomization\.yaml:1:13: '\.\./\.\./base' leaves the repository"
    ):
        render(based(b"resources: [../../base]\n"))


def test_a_folder_without_a_kustomization_says_so() -> None:
    with pytest.raises(SpecError, match=r"prod: no kustomization\.yaml"):
        render({"prod/a.yaml": A})


def test_a_missing_binary_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("TIDEGATE_KUSTOMIZE", raising=False)
    settings.cache_clear()
    try:
        with pytest.raises(
            PluginError, match=r"neither kustomize nor kubectl is on PATH; .* TIDEGATE_KUSTOMIZE"
        ):
            render(based(b""))
    finally:
        monkeypatch.undo()
        settings.cache_clear()
