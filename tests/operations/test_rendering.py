"""A stage's folder at a commit, rendered once per tree, for whoever asks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.adapters.renderers import Place
from tidegate.demo.repositories import git
from tidegate.domain.manifests import Manifest, images
from tidegate.domain.release import Image, Release
from tidegate.errors import Rejected, SpecError
from tidegate.operations.desk import Desk, open_desk
from tidegate.operations.intent import commit_head, read_about
from tidegate.operations.promote import promote
from tidegate.operations.rendering import Renders, evidence, render
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer
from tidegate.spec import Application

A = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: hello}\n"


@dataclass
class Counting:
    """A renderer that tells how often it was needed, and by whom it was built."""

    calls: int = 0
    key: str = ""

    def tool(self) -> Any:
        return SimpleNamespace(name="press", key=self.key, version="v1.2.3")

    def render(self, files: dict[str, bytes], folder: str, place: Place) -> list[Manifest]:
        self.calls += 1
        metadata = {"name": place.app, "namespace": place.namespace}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": str(self.calls)}}
        ]


class Config:
    """A config repository to commit to, and a desk that reads it."""

    def __init__(self, root: Path, server: GitServer) -> None:
        server.create("config")
        self.clone = root / "clone"
        self.clone.mkdir()
        git(self.clone, "init", "--quiet", "--initial-branch=main")
        git(self.clone, "config", "user.name", "Dev")
        git(self.clone, "config", "user.email", "dev@example")
        git(self.clone, "remote", "add", "origin", server.url("config"))
        self.settings = Settings(home=root / "home", git_protocols="http")
        self.url = server.url("config")
        self.press = Counting(key=str(root))  # what is remembered outlives a test

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            path = self.clone / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--allow-empty", "--message=change")
        git(self.clone, "push", "--quiet", "origin", "main")
        sha = self.desk().config.fetch("main")["main"]
        assert sha
        return sha

    def desk(self, app: str = "shop", press: bool = True, render: Any = "plain") -> Desk:
        made = open_desk(
            Application.model_validate(
                {
                    "kind": "Application",
                    "name": app,
                    "source": {"git": self.url},
                    "integrate": {"build": {"kind": "archive", "image": "x/y", "entrypoint": ["y"]}},
                    "config": {"git": self.url, "render": render, "images": "web.image"},
                    "stages": [
                        {
                            "name": "live",
                            "path": "live",
                            "target": {"kind": "kubernetes", "namespace": "town"},
                        }
                    ],
                }
            ),
            "live",
            self.settings,
        )
        return replace(made, renderer=self.press) if press else made


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    with GitServer(tmp_path / "git") as server:
        yield Config(tmp_path, server)


def test_a_tree_is_rendered_once_whatever_commit_it_stands_in(config: Config) -> None:
    first, again = config.commit(live__a=A), config.commit()
    assert first != again
    assert render(config.desk(), first) == render(config.desk(), again)
    assert config.press.calls == 1
    render(config.desk(), config.commit(live__a=A + "# more\n"))
    assert config.press.calls == 2


def test_another_build_of_the_tool_or_another_application_is_another_render(config: Config) -> None:
    sha = config.commit(live__a=A)
    render(config.desk(), sha)
    config.press.key = "second build"
    render(config.desk(), sha)
    (made,) = render(config.desk("cart"), sha)
    assert config.press.calls == 3
    assert made["metadata"] == {"name": "cart", "namespace": "town"}


def test_each_asker_gets_data_of_its_own(config: Config) -> None:
    sha = config.commit(live__a=A)
    (first,), (second,) = render(config.desk(press=False), sha), render(config.desk(press=False), sha)
    first["data"]["x"] = "changed"
    assert second["data"] == {"x": "hello"}
    assert render(config.desk(press=False), sha)[0]["data"] == {"x": "hello"}


def test_what_was_rendered_long_ago_is_forgotten_and_what_is_too_large_never_kept() -> None:
    renders = Renders(size=1000)
    for number in range(20):
        renders.put((str(number),), ({"data": "x" * 100},))
    assert renders.get(("0",)) is None
    assert renders.get(("19",)) == ({"data": "x" * 100},)
    renders.put(("large",), ({"data": "x" * 2000},))
    assert renders.get(("large",)) is None


def test_the_tool_and_its_version_are_evidence(config: Config) -> None:
    assert evidence(config.desk()) == {"kind": "plain", "tool": "press", "version": "v1.2.3"}
    assert evidence(config.desk(press=False)) == {"kind": "plain"}


def test_what_another_team_commits_does_not_spoil_a_render(config: Config) -> None:
    (config.clone / "other").mkdir()
    (config.clone / "other" / "away").symlink_to("../../../etc/passwd")
    (config.clone / "other" / "large.bin").write_bytes(b"0" * 11_000_000)
    sha = config.commit(live__a=A)
    for kind in ("plain", {"kind": "plain", "recurse": True}):
        assert len(render(config.desk(press=False, render=kind), sha)) == 1
    (config.clone / "live" / "b.yaml").symlink_to("../../../etc/passwd")
    with pytest.raises(Rejected, match="out of the repository"):
        render(config.desk(press=False), config.commit())


def test_marks_of_ours_are_not_written_by_hand(config: Config) -> None:
    own = "default:shop.live:/ConfigMap:town/a"
    text = A.replace("{name: a}", f"{{name: a, annotations: {{tidegate.dev/tracking-id: '{own}'}}}}")
    assert render(config.desk(press=False), config.commit(live__a=text)), "as exported from the cluster"
    with pytest.raises(SpecError, match=r"live: ConfigMap a has the annotation .* says that it is another's"):
        render(config.desk(press=False), config.commit(live__a=text.replace("shop.live", "shop.staging")))
    held = A.replace("{name: a}", "{name: a, finalizers: [tidegate.dev/hold]}")
    with pytest.raises(
        SpecError, match=r"live: ConfigMap a has the finalizer tidegate\.dev/hold, which is ours"
    ):
        render(config.desk(press=False), config.commit(live__a=held))


def test_a_release_goes_into_the_values_of_a_chart_and_the_tool_is_recorded(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH")
    digest = f"sha256:{1:064x}"
    pod = "{template: {metadata: {labels: {a: b}}, spec: {containers: [{name: web, image: {{ .Values.web.image }}}]}}}"
    config.commit(
        chart__Chart="apiVersion: v2\nname: shop\nversion: 1.0.0\n",
        chart__templates__web=f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec: {pod}\n",
        live__values="# what runs\nweb: {image: registry.example/shop:1}\n",
    )
    desk = config.desk(press=False, render={"kind": "helm", "chart": "chart", "values": ["values.yaml"]})
    release = Release("shop", "a" * 40, 1, (Image("registry.example/shop", digest),), datetime.now(UTC))
    head = promote(desk, release, SimpleNamespace(approvals={}), fence=lambda: None)  # type: ignore[arg-type]
    assert desk.config.read(head, "live/values.yaml") == (
        f"# what runs\nweb: {{image: registry.example/shop@{digest}}}\n".encode()
    )
    (web,) = render(desk, head)
    assert images(web) == (f"registry.example/shop@{digest}",)
    view = SimpleNamespace(promoted=release, head=head)
    about = read_about(desk, commit_head(desk, view, fence=lambda: None))  # type: ignore[arg-type]
    made_by = about["rendered_by"]
    assert isinstance(made_by, dict)
    assert (made_by["kind"], made_by["tool"], made_by["version"][:2]) == ("helm", "helm", "v3")
