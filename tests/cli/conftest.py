"""A small shop to look at from a terminal: real Git repositories, a real API server, the real command as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate.domain.moves import Deploy, Promote, Render
from tidegate.domain.promotion import next_move
from tidegate.domain.records import Kind, Record
from tidegate.domain.release import Image, Release
from tidegate.operations import intent, promote, sync
from tidegate.operations.approve import approve as lift
from tidegate.operations.desk import Desk, open_desk
from tidegate.operations.look import look
from tidegate.settings import Settings
from tidegate.sim.apiserver import ApiServer
from tidegate.sim.git_server import GitServer
from tidegate.spec import load

SPEC = """\
kind: Application
name: shop
source: {{git: "{source}"}}
integrate: {{build: {{kind: archive, image: registry.example/shop, entrypoint: [shop]}}}}
config: {{git: "{config}"}}
stages:
  - name: staging
    path: shop/staging
    target: {{kind: kubernetes, namespace: staging, kubeconfig: "{root}/kubeconfig", create_namespace: true}}
  - name: production
    path: shop/production
    target: {{kind: kubernetes, namespace: production, kubeconfig: "{root}/kubeconfig", create_namespace: true}}
    after: {{staging: {{}}}}
    approval: {{need: 1}}
"""
# a suspended CronJob has an image and is healthy at once, without anybody running it
MANIFEST = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: shop
            image: registry.example/shop
---
apiVersion: v1
kind: Secret
metadata: {name: door}
stringData: {key: swordfish}
"""


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shop:
    """One application with two stages, and the command line that looks at it."""

    root: Path
    git: GitServer
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, env: dict[str, str] | None = None, code: int | None = 0) -> Said:
        """Run `tidegate` as a process; `code` is what it must exit with (None: whatever)."""
        done = subprocess.run(
            [sys.executable, "-m", "tidegate.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **self.env, **(env or {})},
            cwd=self.root,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def fleet(self, folder: Path, *changes: tuple[str, str]) -> dict[str, str]:
        """Another fleet, with some of the spec's text replaced: the environment that names it."""
        text = (self.root / "fleet" / "apps" / "shop.yaml").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "apps").mkdir(parents=True)
        (folder / "apps" / "shop.yaml").write_text(text)
        return {"TIDEGATE_FLEET": str(folder)}

    @property
    def settings(self) -> Settings:
        return Settings(home=self.root / "home", fleet=str(self.root / "fleet"), git_protocols="http")

    def desk(self, stage: str) -> Desk:
        return open_desk(load(self.root / "fleet")[0], stage, self.settings)

    def release(self, number: int) -> Release:
        """A release in the ledger, as `integrate` leaves it."""
        made = Release(
            app="shop",
            revision=f"{number:x}" * 40,
            height=number,
            images=(Image("registry.example/shop", f"sha256:{number:064x}"),),
            created=datetime.now(UTC) - timedelta(hours=1),
            subject=f"change {number}",
        )
        record = Record(
            kind=Kind.Release,
            app="shop",
            at=made.created,
            message=f"shop {made.id} built: {made.subject}",
            release=made.id,
            data={
                "revision": made.revision,
                "height": made.height,
                "images": [{"name": i.name, "digest": i.digest} for i in made.images],
                "subject": made.subject,
            },
        )
        self.desk("staging").ledger.append(record)
        return made

    def deliver(self, stage: str) -> None:
        """Make the moves of a stage until it settles or holds, as the flow does."""
        desk = self.desk(stage)
        while True:
            view = look(desk, datetime.now(UTC))
            match next_move(view):
                case Promote(release=release):
                    promote.promote(desk, release, view, fence=lambda: None)
                case Render():
                    intent.commit_head(desk, view, fence=lambda: None)
                case Deploy():
                    manifests = sync.final_state(desk, view)
                    done = desk.target.apply(desk.owner, sync.plan(desk, manifests), fence=lambda: None)
                    sync.record_sync(desk, view, len(done.applied), datetime.now(UTC))
                case _:
                    return


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Release 1 is live in both stages, release 2 in staging; it waits for a yes before production. To look at."""
    with open_shop(tmp_path_factory.mktemp("shop")) as world:
        yield world


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[Shop]:
    """The same, to act in."""
    with open_shop(tmp_path) as world:
        yield world


@contextmanager
def open_shop(tmp_path: Path) -> Iterator[Shop]:
    """Start the servers, make the repositories, deliver."""
    work, served = tmp_path / "work", tmp_path / "served"
    later = MANIFEST.replace("0 3 * * *", "0 4 * * *").replace("swordfish", "herring")
    for stage, text in {"staging": MANIFEST, "production": MANIFEST, "changed": later}.items():
        folder = work / "shop" / stage
        folder.mkdir(parents=True)
        (folder / "nightly.yaml").write_text(text)
    git("init", "-q", "-b", "main", str(work))
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "-q", "-m", "start")
    with ApiServer() as cluster, GitServer(served) as server:
        for name in ("config", "shop"):
            url = server.create(name)
            git("-C", str(work), "push", "-q", url, "main")
        cluster.write_kubeconfig(tmp_path / "kubeconfig")
        (tmp_path / "fleet" / "apps").mkdir(parents=True)
        spec = SPEC.format(root=tmp_path, config=server.url("config"), source=server.url("shop"))
        (tmp_path / "fleet" / "apps" / "shop.yaml").write_text(spec)
        env = {
            "TIDEGATE_HOME": str(tmp_path / "home"),
            "TIDEGATE_FLEET": str(tmp_path / "fleet"),
            "TIDEGATE_GIT_PROTOCOLS": "http",
        }
        world = Shop(tmp_path, server, env)
        first = world.release(1)
        world.deliver("staging")
        lift(world.desk("production"), by="ada", release=first.id, reason="first one")
        world.deliver("production")
        world.release(2)
        world.deliver("staging")
        yield world
