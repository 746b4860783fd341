"""What benchmarks share: Git over HTTP, the embedded cluster, a Prefect server. Each starts when first asked for.

All parts are processes of their own, on loopback, so that what is measured in this process is ours alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tidegate.adapters.fleet import load_fleet
from tidegate.demo.repositories import git
from tidegate.domain.records import Kind, Record
from tidegate.domain.release import Image, Release
from tidegate.running.processes import Child, Processes
from tidegate.running.up import ROOT, Platform, Up, client_settings
from tidegate.settings import Settings, settings
from tidegate.sim.git_server import GitServer
from tidegate.spec import Application

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Clone:
    """A developer's clone of one repository of the Git server."""

    folder: Path
    url: str

    bare: Path
    """The repository itself, on the server's disk."""

    def push(self, files: Mapping[str, str], subject: str = "Change it") -> str:
        """Write, commit, push; returns the commit."""
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(content)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--message", subject)
        git(self.folder, "push", "--quiet", "origin", "main")
        return git(self.folder, "rev-parse", "HEAD")

    def fill(self, branch: str, files: Mapping[str, bytes]) -> None:
        """Begin a branch with one commit of many files, without a work tree."""
        who = b"Bench developer <developer@bench.example> 1700000000 +0000"
        head = b"commit refs/heads/%b\ncommitter %b\ndata 5\nBegin\n" % (branch.encode(), who)
        body = b"".join(
            b"M 100644 inline %b\ndata %d\n%b\n" % (p.encode(), len(t), t) for p, t in files.items()
        )
        words = ["git", "-C", str(self.bare), "fast-import", "--quiet"]
        subprocess.run(words, input=head + body, check=True, timeout=60)


class World:
    """Use as a context manager: it stops all it started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._stack = ExitStack()
        self._limited: set[str] = set()
        self.fleet = home / "fleet"

    def __enter__(self) -> World:
        self.fleet.mkdir()
        os.environ.update(self.env)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
        sys.dont_write_bytecode = False
        settings.cache_clear()
        self.processes = self._stack.enter_context(Processes(self.home / "logs"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def env(self) -> dict[str, str]:
        """How Tidegate runs here, in this process and in its children."""
        return {
            "TIDEGATE_HOME": str(self.home / "state"),
            "TIDEGATE_FLEET": str(self.fleet),
            "TIDEGATE_GIT_PROTOCOLS": "http:https:ssh",
        }

    @property
    def settings(self) -> Settings:
        """Of this process."""
        return settings()

    # --- Git ------------------------------------------------------------------------------------------------

    @cached_property
    def _git(self) -> tuple[GitServer, str]:
        root = self.home / "git"
        words = ["--root", str(root)]
        child = self.processes.start(
            "git", [sys.executable, "-m", "tidegate.sim.git_server", *words], cwd=ROOT
        )
        return GitServer(root), str(self._greeting(child)["url"])

    def repository(self, name: str) -> Clone:
        """A new repository and a clone of it."""
        server, address = self._git
        bare = server.create(name)
        folder, url = self.home / "work" / name, f"{address}/{name}.git"
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "config", "user.name", "Bench developer")
        git(folder, "config", "user.email", "developer@bench.example")
        git(folder, "remote", "add", "origin", url)
        return Clone(folder, url, bare)

    # --- cluster --------------------------------------------------------------------------------------------

    @cached_property
    def cluster(self) -> dict[str, Any]:
        """What the embedded cluster says of itself: `url`, `kubeconfig`, `registry`, `access_log`, `pid`."""
        words = ["--home", str(self.home / "cluster")]
        child = self.processes.start("cluster", [sys.executable, "-m", "tidegate.sim", *words], cwd=ROOT)
        return self._greeting(child)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """The API server's access log from that line on."""
        lines = Path(self.cluster["access_log"]).read_text().splitlines()
        return [json.loads(line) for line in lines[since:]]

    def patched(self, name: str, after: float) -> float:
        """When (epoch seconds) the Deployment of that name and namespace was first written after a time."""
        path = f"/apis/apps/v1/namespaces/{name}/deployments/{name}"
        hits = (
            float(r["ts"])
            for r in reversed(self.requests())
            if r["method"] == "PATCH" and r["path"] == path and not r["dryRun"] and r["ts"] >= after - 0.001
        )
        return min(hits)

    # --- Prefect --------------------------------------------------------------------------------------------

    @cached_property
    def up(self) -> Up:
        """The parts of `tidegate up`, with our environment."""
        return Up(self.processes, self.home / "state", env=self.env)

    @cached_property
    def prefect(self) -> Platform:
        """A Prefect server; from then on flows called in this process use it."""
        platform = self.up.start_server()
        self.up.wait_server(platform)
        os.environ.update(client_settings(platform.home, platform.api))
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
        self._stack.callback(self.loop.close)
        return platform

    @cached_property
    def loop(self) -> asyncio.Runner:
        """One event loop for all flows called here."""
        return asyncio.Runner()

    def ask_prefect(self, path: str, body: object) -> Any:
        """POST to the Prefect API."""
        request = urllib.request.Request(
            self.prefect.api + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply) if reply.length != 0 else None

    # --- applications ---------------------------------------------------------------------------------------

    def write_spec(
        self, name: str, source: str, config: str, *, stages: int = 1, fleet: Path | None = None
    ) -> None:
        """The spec of an application whose stages need nothing but a release. One stage: folder and namespace
        bear the application's name; more: `<name>-<number>`."""
        places = [name] if stages == 1 else [f"{name}-{i}" for i in range(stages)]
        target = {"kind": "kubernetes", "create_namespace": True, "kubeconfig": self.cluster["kubeconfig"]}
        spec = {
            "kind": "Application",
            "name": name,
            "source": {"git": source},
            "integrate": {
                "build": {"kind": "archive", "image": self.image(name), "entrypoint": ["sleep", "infinity"]}
            },
            "config": {"git": config, "render": "plain"},
            "stages": [{"name": p, "path": p, "target": {**target, "namespace": p}} for p in places],
        }
        folder = fleet or self.fleet
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))

    def deliver(self, app: str) -> None:
        """Call `deliver` in this process and expect it to come to a good end."""
        platform = self.prefect
        assert platform.api == os.environ["PREFECT_API_URL"]
        from flows.deliver import deliver

        if app not in self._limited:
            self.loop.run(_create_limits(load_fleet(self.settings).application(app)))
            self._limited.add(app)

        async def once() -> None:
            state = await deliver(app, return_state=True)
            assert state.is_completed(), state

        self.loop.run(once())

    def image(self, name: str) -> str:
        """Its name in the cluster's registry."""
        return f"{self.cluster['registry']}/{name}"

    def _greeting(self, child: Child) -> dict[str, Any]:
        def said() -> list[str]:
            lines = child.log.read_text(errors="replace").splitlines(keepends=True)
            return [line for line in lines if line.startswith("{") and line.endswith("\n")]

        self.processes.wait(child, lambda: bool(said()), seconds=READY_SECONDS)
        found: dict[str, Any] = json.loads(said()[0])
        return found


async def _create_limits(application: Application) -> None:
    """What registration does for an application."""
    from prefect.client.orchestration import get_client

    from tasks.charge import limit_name

    async with get_client() as client:
        for stage in application.stages:
            await client.upsert_global_concurrency_limit_by_name(limit_name(application.name, stage.name), 1)


def manifests(name: str, image: str, objects: int) -> dict[str, str]:
    """A folder of `objects` files: a Deployment of no pods, which is healthy at once, and ConfigMaps."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": name, "image": image}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    found = {f"{name}/deployment.yaml": _text("apps/v1", "Deployment", name, {"spec": spec})}
    for i in range(objects - 1):
        data = {"data": {f"key-{k}": f"value {k} of {i}" for k in range(8)}}
        found[f"{name}/settings-{i}.yaml"] = _text("v1", "ConfigMap", f"settings-{i}", data)
    return found


def _text(api_version: str, kind: str, name: str, rest: Mapping[str, Any]) -> str:
    head = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": {"part-of": "bench"}},
    }
    return yaml.safe_dump({**head, **rest}, sort_keys=False)


def release_record(app: str, image: Image, revision: str, *, at: datetime | None = None) -> Record:
    """A release as `integrate` records it, all of one age: none of them is newer than another."""
    release = Release(app, revision, 1, (image,), at or datetime(2024, 1, 1, tzinfo=UTC), "Bench")
    data = {
        "revision": revision,
        "height": release.height,
        "subject": release.subject,
        "images": [asdict(image)],
        "evidence": [],
    }
    return Record(Kind.Release, app, release.created, f"{app} {release.id}", release=release.id, data=data)
