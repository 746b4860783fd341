"""What does the cage cost over the tool itself, and what does a tree that was rendered before cost?

A kustomization and a chart of 10 and 100 Deployments, through our renderers: files into a folder of their own, the
cage, the tool, and its output read and checked. The floor is the bare tool on a folder that is there, its output to a
file, and PyYAML's `CSafeLoader` on it: whoever renders wants objects in the end. Wall time and CPU, in turn. Goal: at
most 1.1 times the floor. Then the same tree again, through what a look calls: at most 1 ms.

Tools that are not on PATH, nor named in `TIDEGATE_KUSTOMIZE` and `TIDEGATE_HELM`, are left out.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measuring import Goal, Of, Row, in_turn, milliseconds
from benchmarks.rendering import MANIFEST
from benchmarks.world import World
from tidegate.adapters.renderers import helm, kustomize
from tidegate.errors import PluginError
from tidegate.operations.desk import open_desk
from tidegate.operations.rendering import render
from tidegate.spec import Application

SIZES = (10, 100)
GOALS = {"tool": Goal(1.1), "hit": Goal(1.0, Of.Median)}
_HITS = 200


def run(world: World) -> list[Row]:
    """Two rows per size and tool, and a row per size for a hit."""
    rows = []
    for size in SIZES:
        rows += _rows("kustomize", kustomize.build(kustomize.Settings()), _kustomization(size), size)
        rows += _rows("helm", helm.build(helm.Settings()), _chart(size), size)
        rows.append(_hit(world, size))
    return rows


def _kustomization(size: int) -> dict[str, bytes]:
    names = [f"web-{n}.yaml" for n in range(size)]
    listed = "resources:\n" + "".join(f"- {name}\n" for name in names)
    return {"shop/kustomization.yaml": listed.encode()} | {
        f"shop/{name}": MANIFEST.format(number=n).encode() for n, name in enumerate(names)
    }


def _chart(size: int) -> dict[str, bytes]:
    return {"shop/Chart.yaml": b"apiVersion: v2\nname: shop\nversion: 1.0.0\n"} | {
        f"shop/templates/web-{n}.yaml": MANIFEST.format(number=n)
        .replace("replicas: 3", "replicas: {{ add 1 2 }}")
        .encode()
        for n in range(size)
    }


def _rows(name: str, renderer: Any, files: Mapping[str, bytes], size: int) -> list[Row]:
    try:
        path = renderer.tool().path
    except PluginError:
        return []
    fresh = count()

    def ours() -> None:
        # a comment that no render had before, so that nothing is remembered
        made = renderer.render({**files, "shop/.fresh": str(next(fresh)).encode()}, "shop")
        assert len(made) == size

    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        for each, content in files.items():
            place = Path(folder, each)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        words = ["build", f"{folder}/shop"] if name == "kustomize" else ["template", "shop", f"{folder}/shop"]
        bare = _bare([path, *words], Path(folder, "output"))
        mine, floor = in_turn(ours, bare, rounds=15, warm=2)
    what, floor_is = f"render {size} objects by {name}", f"{name} alone, and yaml.CSafeLoader on its output"
    return [
        Row(what, "ms", milliseconds(mine), GOALS["tool"], milliseconds(floor), floor_is, digits=1),
        Row(
            f"{what}, CPU",
            "ms",
            milliseconds(mine, "cpu"),
            GOALS["tool"],
            milliseconds(floor, "cpu"),
            floor_is,
            1,
        ),
    ]


def _bare(command: Sequence[str], output: Path) -> Callable[[], None]:
    def bare() -> None:
        with output.open("wb") as stream:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, check=True)
        list(yaml.load_all(output.read_bytes(), yaml.CSafeLoader))

    return bare


def _hit(world: World, size: int) -> Row:
    clone = world.repository(f"rendered-{size}")
    commit = clone.push(
        {path: text.decode() for path, text in _kustomization(size).items() if "web-" in path}
    )
    desk = open_desk(_application(clone.url), "live", world.settings)
    desk.config.fetch("main")
    assert len(render(desk, commit)) == size

    def hits() -> None:
        for _ in range(_HITS):
            render(desk, commit)

    (costs,) = in_turn(hits, rounds=15)
    values = [each / _HITS for each in milliseconds(costs, "cpu")]
    return Row(f"render {size} objects again, CPU", "ms", values, GOALS["hit"], digits=2)


def _application(url: str) -> Application:
    return Application.model_validate(
        {
            "kind": "Application",
            "name": "shop",
            "source": {"git": url},
            "integrate": {
                "build": {"kind": "archive", "image": "registry.example/shop", "entrypoint": ["x"]}
            },
            "config": {"git": url, "render": {"kind": "plain"}},
            "stages": [
                {"name": "live", "path": "shop", "target": {"kind": "kubernetes", "namespace": "shop"}}
            ],
        }
    )
