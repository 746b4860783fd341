"""What does rendering a plain folder cost over reading its YAML?

10, 100 and 1,000 Deployments, one file each, through the `plain` renderer: kubectl's scalar rules, limits, line
numbers, duplicate keys and duplicate objects refused. The floor is PyYAML's `CSafeLoader` on the same bytes, which
has none of that. CPU, in turn. Goal: at most 1.1 times the floor.
"""

from __future__ import annotations

from collections.abc import Callable

import yaml

from benchmarks.measuring import Goal, Row, in_turn, milliseconds
from benchmarks.world import World
from tidegate.adapters.renderers.plain import Settings, build

SIZES = (10, 100, 1000)
GOALS = {"plain": Goal(1.1)}
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-{number}
  labels: {{app: web-{number}, part-of: shop}}
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web-{number}
  template:
    metadata:
      labels:
        app: web-{number}
    spec:
      containers:
        - name: web
          image: registry.example/web:1.{number}
          env:
            - name: PORT
              value: "8080"
          ports:
            - name: http
              containerPort: 8080
          readinessProbe:
            httpGet: {{path: /healthz, port: http}}
          resources:
            requests: {{cpu: 100m, memory: 64Mi}}
            limits: {{memory: 128Mi}}
"""


def run(world: World) -> list[Row]:
    """A row per size."""
    return [_row(size) for size in SIZES]


def _row(size: int) -> Row:
    files = {f"shop/web-{n}.yaml": MANIFEST.format(number=n).encode() for n in range(size)}
    renderer = build(Settings())

    def bare() -> None:
        for text in files.values():
            list(yaml.load_all(text, yaml.CSafeLoader))

    repeats = max(1, 200 // size)  # so that one round takes long enough to be measured

    def times(action: Callable[[], object]) -> Callable[[], object]:
        return lambda: [action() for _ in range(repeats)]

    costs = in_turn(times(lambda: renderer.render(files, "shop")), times(bare), rounds=9)
    mine, floor = ([each / repeats for each in milliseconds(c, "cpu")] for c in costs)
    assert len(renderer.render(files, "shop")) == size
    what = f"render {size} plain objects, CPU"
    return Row(what, "ms", mine, GOALS["plain"], floor, "yaml.CSafeLoader on the same bytes", digits=1)
