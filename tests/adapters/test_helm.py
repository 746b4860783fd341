"""Charts become manifests by the real `helm template`, with files of the config repository and nothing else."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tidegate.adapters.renderers import Place, helm
from tidegate.errors import PluginError, Rejected, SpecError
from tidegate.settings import settings

CONFIG_MAP = b"""apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-web, namespace: {{ .Release.Namespace }}}
data:
  size: {{ .Values.size | quote }}
  color: {{ .Values.color | quote }}
  kubernetes: {{ .Capabilities.KubeVersion.Version }}
  monitored: {{ .Capabilities.APIVersions.Has "example.com/v1/Watch" | quote }}
  found: {{ lookup "v1" "Secret" "kube-system" "token" | toJson | quote }}
  address: {{ getHostByName "localhost" | quote }}
"""
HOOK = b"""apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "-5"}
"""
TEST = HOOK.replace(b"migrate", b"try").replace(b"pre-install,pre-upgrade", b"test")
CRD = b"""apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: watches.example.com}
"""
CHART = {
    "charts/web/Chart.yaml": b"apiVersion: v2\nname: shop-web\nversion: 0.1.0\n",
    "charts/web/values.yaml": b"size: small\ncolor: blue\n",
    "charts/web/templates/web.yaml": CONFIG_MAP,
    "charts/web/templates/migrate.yaml": HOOK,
    "charts/web/templates/tests/try.yaml": TEST,
    "charts/web/templates/NOTES.txt": b"Thank you for installing.\n",
    "charts/web/crds/watch.yaml": CRD,
    "shop/staging/values.yaml": b"size: large\n",
    "common.yaml": b"size: medium\ncolor: red\n",
}


@pytest.fixture(autouse=True)
def binary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real helm, also where `make test` and `go install` put it."""
    places = (Path(sys.executable).parent / "helm", Path.home() / "go" / "bin" / "helm")
    installed = next((place for place in places if place.exists()), None)
    if "TIDEGATE_HELM" not in os.environ and shutil.which("helm") is None and installed:
        monkeypatch.setenv("TIDEGATE_HELM", str(installed))
    settings.cache_clear()
    if not (settings().helm or shutil.which("helm")):
        pytest.skip("helm is not on PATH, and TIDEGATE_HELM names none")
    yield
    monkeypatch.undo()
    settings.cache_clear()


def render(
    files: dict[str, bytes] | None = None, folder: str = "charts/web", **options: Any
) -> dict[str, dict[str, Any]]:
    made = helm.build(helm.Settings(**options)).render(files or CHART, folder, Place("shop", "town"))
    return {m["metadata"]["name"]: m for m in made}


def template(text: bytes) -> dict[str, bytes]:
    return CHART | {"charts/web/templates/web.yaml": text}


def test_the_stages_folder_is_the_chart() -> None:
    made = render()
    assert list(made) == ["watches.example.com", "shop-web", "migrate"]
    assert made["shop-web"]["metadata"]["namespace"] == "town"
    assert made["shop-web"]["data"]["size"] == "small"


def test_values_beside_the_stage_win_over_the_charts_and_written_ones_over_both() -> None:
    made = render(folder="shop/staging", chart="charts/web", values=["/common.yaml", "values.yaml"])
    assert (made["shop-web"]["data"]["size"], made["shop-web"]["data"]["color"]) == ("large", "red")
    made = render(folder="shop/staging", chart="charts/web", values=["values.yaml"], set={"size": "1e3"})
    assert (made["shop-web"]["data"]["size"], made["shop-web"]["data"]["color"]) == ("1e3", "blue")


def test_values_may_stand_above_the_stage_but_not_above_the_repository() -> None:
    assert render(folder="shop/staging", chart="charts/web", values=["../../common.yaml"])
    with pytest.raises(SpecError, match=r"\.\./\.\./\.\./x\.yaml: leaves the repository"):
        render(folder="shop/staging", chart="charts/web", values=["../../../x.yaml"])
    with pytest.raises(SpecError, match=r"\.\./charts: leaves the repository"):
        render(chart="../charts")


def test_a_comma_in_a_path_is_part_of_it() -> None:
    files = CHART | {"shop/staging/a,https:": b"size: odd\n"}
    assert (
        render(files, "shop/staging", chart="charts/web", values=["a,https:"])["shop-web"]["data"]["size"]
        == "odd"
    )


def test_hooks_keep_their_annotations_and_tests_are_left_out() -> None:
    made = render()
    assert made["migrate"]["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-weight": "-5",
    }
    assert "try" not in made


def test_crds_are_left_out_when_asked() -> None:
    assert "watches.example.com" not in render(crds=False)


def test_release_namespace_and_what_the_cluster_can_are_told() -> None:
    made = render(
        release="web", namespace="there", kube_version="1.34.2", api_versions=["example.com/v1/Watch"]
    )["web-web"]
    assert made["metadata"]["namespace"] == "there"
    assert made["data"]["kubernetes"] == "v1.34.2"
    assert made["data"]["monitored"] == "true"


def test_a_chart_sees_no_cluster_and_no_network() -> None:
    data = render()["shop-web"]["data"]
    assert (data["found"], data["address"], data["monitored"]) == ("{}", "", "false")


def test_values_of_text_stay_text() -> None:
    files = template(
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n{{ toYaml .Values.set | indent 2 }}\n"
    )
    odd = {"a": "1e3", "b": "y", "c": "0o17", "d": "12:30", "e": "2020-01-01", "f": "1_000", "g": "~"}
    assert render(files, set={"set": odd})["a"]["data"] == odd


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            b"a: {{ nope }}",
            r"charts/web: helm failed: parse error at \(charts/web/templates/web\.yaml:1\): function",
        ),
        (b"\n{{ .Values.a.b }}", r"charts/web/templates/web\.yaml:2:10: "),
        (b'{{ required "size it" .Values.none }}', r"charts/web/templates/web\.yaml:1:3\): size it"),
        (
            b"apiVersion: v1\n kind: x\nmetadata: {}",
            r"YAML parse error on charts/web/templates/web\.yaml.* line ",
        ),
        (b'{{ fail "not today" }}', "not today"),
    ],
)
def test_what_helm_says_is_passed_on_with_the_repositorys_paths(text: bytes, said: str) -> None:
    with pytest.raises(Rejected, match=said) as caught:
        render(template(text))
    assert "tidegate-render" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            b"kind: A\nmetadata: {name: a}",
            r"charts/web/templates/web\.yaml \(rendered by helm\):1:1: apiVersion",
        ),
        (
            b"apiVersion: v1\nkind: A\nmetadata: {name: a, labels: {x: 1}}",
            r"web\.yaml .*:3:33: the label x is 1",
        ),
        (
            b"apiVersion: v1\nkind: A\nmetadata: {name: a}\na: 1\na: 2",
            r"web\.yaml .*:5:1: the key 'a' is written twice",
        ),
        (
            HOOK,
            r"web\.yaml \(rendered by helm\):1: Job migrate is already written in charts/web/templates/migrate",
        ),
    ],
)
def test_what_the_api_server_would_not_read_is_told_in_lines_of_the_rendered_template(
    text: bytes, said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        render(template(text))


def test_a_dependency_that_is_not_vendored_is_one_sentence_with_its_place() -> None:
    chart = CHART["charts/web/Chart.yaml"] + (
        b"dependencies:\n  - {name: redis, version: 1.x, repository: 'https://x.example'}\n"
    )
    with pytest.raises(SpecError) as caught:
        render(CHART | {"charts/web/Chart.yaml": chart})
    assert str(caught.value) == (
        "charts/web/Chart.yaml:5:12: the dependency 'redis' is not in charts/;"
        " run helm dependency build, and commit what it puts there"
    )


def archive(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(made.getvalue())


def test_vendored_dependencies_are_rendered_as_folder_and_as_archive() -> None:
    chart = (
        CHART["charts/web/Chart.yaml"]
        + b"dependencies:\n- {name: one, version: 1.0.0}\n- {name: two, version: 1.0.0}\n"
    )
    part = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Chart.Name }}}\n"
    named = b"apiVersion: v2\nname: %s\nversion: 1.0.0\n"
    packed = archive({"two/Chart.yaml": named % b"two", "two/templates/a.yaml": part})
    files = CHART | {
        "charts/web/Chart.yaml": chart,
        "charts/web/charts/one/Chart.yaml": named % b"one",
        "charts/web/charts/one/templates/a.yaml": part,
        "charts/web/charts/two-1.0.0.tgz": packed,
    }
    assert {"one", "two"} <= set(render(files))
    files["charts/web/charts/one/templates/a.yaml"] = b"{{ nope }}"
    with pytest.raises(Rejected, match=r"charts/web/charts/one/templates/a\.yaml:1"):
        render(files)


def test_an_archive_that_would_leave_its_folder_writes_nothing(tmp_path: Path) -> None:
    slip = archive({f"two/../../../../../../{tmp_path}/slipped": b"x", "two/Chart.yaml": b"name: two\n"})
    with pytest.raises(Rejected, match="helm failed"):
        render(CHART | {"charts/web/charts/two-1.0.0.tgz": slip})
    assert not (tmp_path / "slipped").exists()


def test_files_of_the_machine_are_not_the_charts() -> None:
    files = template(
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n"
        b'  one: {{ .Files.Get "/etc/passwd" | quote }}\n'
        b'  two: {{ .Files.Get "../../common.yaml" | quote }}\n'
    )
    assert render(files)["a"]["data"] == {"one": "", "two": ""}


def test_a_schema_of_the_chart_is_kept_and_fetches_nothing() -> None:
    schema = b'{"properties": {"size": {"enum": ["large"]}}}'
    with pytest.raises(Rejected, match="helm failed: values don't meet the specifications of the schema"):
        render(CHART | {"charts/web/values.schema.json": schema})
    away = b'{"properties": {"size": {"$ref": "file:///etc/passwd"}}}'
    with pytest.raises(Rejected, match="helm failed") as caught:
        render(CHART | {"charts/web/values.schema.json": away})
    assert "root:" not in str(caught.value)


def test_a_template_without_an_end_is_stopped() -> None:
    endless = b"{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}"
    with pytest.raises(Rejected, match=r"charts/web: helm did not end within 0\.7 s; is there a loop"):
        render(template(endless), timeout=0.7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"values": ["https://x.example/values.yaml"]}, "charts and values are never fetched"),
        ({"values": ["s3://bucket/values.yaml"]}, "charts and values are never fetched"),
        ({"chart": "oci://x.example/web"}, "charts and values are never fetched"),
        ({"chart": "https://x.example/web.tgz"}, "charts and values are never fetched"),
        ({"values": ["--post-renderer=x"]}, "is not a path of the config repository"),
        ({"release": "--post-renderer=x"}, "release"),
        ({"namespace": "-n"}, "namespace"),
        ({"kube_version": "--dry-run=server"}, "kube_version"),
        ({"api_versions": ["--validate"]}, "api_versions"),
        ({"post_renderer": "./x"}, "post_renderer"),
    ],
)
def test_what_could_run_or_fetch_something_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        helm.Settings(**options)


def test_a_missing_chart_and_missing_values_say_what_to_correct() -> None:
    with pytest.raises(SpecError, match=r"shop/staging: no Chart\.yaml; add one, or name the chart's folder"):
        render(folder="shop/staging")
    with pytest.raises(SpecError, match=r"shop/staging/more\.yaml: no such values file; add it"):
        render(folder="shop/staging", chart="charts/web", values=["more.yaml"])
    with pytest.raises(SpecError, match=r"shop/staging/values\.yaml:2:1: a tab"):
        render(
            CHART | {"shop/staging/values.yaml": b"a:\n\tb: 1\n"},
            "shop/staging",
            chart="charts/web",
            values=["values.yaml"],
        )


def test_a_missing_binary_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("TIDEGATE_HELM", raising=False)
    settings.cache_clear()
    with pytest.raises(PluginError, match=r"helm is not on PATH; install it .* or name it in TIDEGATE_HELM"):
        render()


def test_the_version_is_the_binarys_own() -> None:
    assert helm.build(helm.Settings()).tool().version.startswith("v3.")
