"""A stage's folder at a commit, rendered once per tree, for whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.adapters.renderers import Place
from tidegate.demo.repositories import git
from tidegate.domain.manifests import Manifest
from tidegate.operations.desk import Desk, open_desk
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

    def desk(self, app: str = "shop", press: bool = True, kind: str = "plain") -> Desk:
        made = open_desk(
            Application.model_validate(
                {
                    "kind": "Application",
                    "name": app,
                    "source": {"git": self.url},
                    "integrate": {"build": {"kind": "archive", "image": "x/y", "entrypoint": ["y"]}},
                    "config": {"git": self.url, "render": kind},
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
