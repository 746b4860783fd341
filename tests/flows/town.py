"""A small town to deliver in: embedded cluster, Git over HTTP, registry, Prometheus, Prefect; all real, all loopback.

`Town` is started once; each test opens a `Shop` of its own in it: source and config repository, spec, namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tidegate.adapters.fleet import load_fleet
from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import Ledger
from tidegate.adapters.steps import Step, StepResult
from tidegate.adapters.steps import run as run_step
from tidegate.demo.prometheus import Prometheus, binary
from tidegate.demo.repositories import git
from tidegate.domain.records import Kind, Record
from tidegate.domain.release import Release
from tidegate.operations import integrate
from tidegate.running.processes import Processes, free_port
from tidegate.running.up import ROOT, Platform, Up, client_settings, program_path
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

HERE = Path(__file__).parent
WRITES = {"POST", "PUT", "PATCH", "DELETE"}


def eventually(what: str, check: Callable[[], Any], seconds: float = 120) -> Any:
    """Poll until `check()` is truthy and return it; timing never decides, the deadline only ends a hang."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.2)
    return found


@dataclass
class Town:
    """Everything that is shared by the tests of one session."""

    home: Path
    processes: Processes
    git: GitServer
    cluster: dict[str, Any]
    prometheus: Prometheus
    platform: Platform
    up: Up
    registered: bool = False

    @property
    def fleet(self) -> Path:
        return self.home / "fleet"

    @property
    def env(self) -> dict[str, str]:
        """What every process of the town is told."""
        return {
            "TIDEGATE_HOME": str(self.home / "state"),
            "TIDEGATE_FLEET": str(self.fleet),
            "TIDEGATE_GIT_PROTOCOLS": "http:https:ssh",
            "TIDEGATE_POLL": "5",
            "TIDEGATE_LEASE_SECONDS": "4",
            "KUBECONFIG": self.cluster["kubeconfig"],
        }

    def settings(self) -> Settings:
        return Settings(
            home=self.home / "state",
            fleet=str(self.fleet),
            git_protocols="http:https:ssh",
            installation="default",
        )

    def admit(self, *apps: str) -> None:
        """Register what runs need: all of it once, then only the limits that keep a new application's runs apart."""
        if not self.registered:
            self.up.register(self.platform)
            self.registered = True
        for app in apps:
            for name in (f"{app}.staging", f"{app}.production", f"{app}.integrate"):
                with contextlib.suppress(urllib.error.HTTPError):  # 409: it is there
                    self.prefect("/v2/concurrency_limits/", {"name": name, "limit": 1})

    def play(self, flow: str, **parameters: str) -> subprocess.Popen[str]:
        """Start a flow as a program of its own, with the town's server; `outcome` reads what came of it."""
        words = [sys.executable, "-m", "tests.flows.play", flow, *(f"{k}={v}" for k, v in parameters.items())]
        env = {
            **os.environ,
            **self.env,
            **client_settings(self.platform.home, self.platform.api),
            "PATH": program_path(),
        }
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, flow: str, **parameters: str) -> dict[str, str]:
        """Play a flow to its end: `{"type", "name", "message"}` of its final state."""
        return outcome(self.play(flow, **parameters))

    def requests(self) -> list[dict[str, Any]]:
        """The API server's access log."""
        lines = Path(self.cluster["access_log"]).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def api(self, path: str) -> Any:
        """GET from the API server."""
        with urllib.request.urlopen(self.cluster["url"] + path, timeout=10) as reply:
            return json.load(reply)

    @contextmanager
    def clocks_stopped(self) -> Iterator[None]:
        """Only people start runs meanwhile."""
        found = self.prefect("/deployments/filter", {"limit": 200})
        clocks = [f"/deployments/{deployment['id']}" for deployment in found if deployment["schedules"]]
        for clock in clocks:
            self.prefect(f"{clock}/pause_deployment", {})
        try:
            yield
        finally:
            for clock in clocks:
                self.prefect(f"{clock}/resume_deployment", {})

    def prefect(self, path: str, body: object) -> Any:
        """POST to the Prefect API."""
        request = urllib.request.Request(
            self.platform.api + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply) if reply.length != 0 else None


def outcome(process: subprocess.Popen[str]) -> dict[str, str]:
    """The final state of a played flow."""
    out, _ = process.communicate(timeout=240)
    answers = [line for line in out.splitlines() if line.startswith('{"type"')]
    assert answers, out[-6000:]
    found: dict[str, str] = json.loads(answers[-1])
    return {**found, "log": out}


@contextmanager
def town(home: Path) -> Iterator[Town]:
    """Start the town, stop all of it afterwards."""
    (home / "fleet").mkdir(parents=True)
    server = GitServer(home / "git")
    server.start()
    with Processes(home / "logs") as processes:
        access = home / "cluster.json"
        port, registry = free_port(), free_port()
        words = ["--home", str(home / "cluster"), "--port", str(port), "--registry-port", str(registry)]
        child = processes.start("cluster", [sys.executable, "-m", "tidegate.sim", *words], cwd=ROOT)
        env = {"TIDEGATE_HOME": str(home / "state"), "TIDEGATE_FLEET": str(home / "fleet")}
        env |= {
            "TIDEGATE_GIT_PROTOCOLS": "http:https:ssh",
            "TIDEGATE_POLL": "5",
            "TIDEGATE_LEASE_SECONDS": "4",
        }
        up = Up(processes, home / "state", env=env)
        platform = up.start_server()
        processes.wait(child, lambda: _greeting(child.log) is not None, seconds=60)
        cluster = _greeting(child.log) or {}
        access.write_text(json.dumps(cluster))
        kubeconfig = Path(cluster["kubeconfig"])
        metrics = Prometheus(processes, home / "prometheus", free_port(), cluster["url"], kubeconfig, {})
        metrics.start(binary(Settings()))
        up.wait_server(platform)
        try:
            yield Town(home, processes, server, cluster, metrics, platform, up)
        finally:
            server.stop()


def _greeting(log: Path) -> dict[str, Any] | None:
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


class Shop:
    """One application of the town, with a developer's hands: push, look, read the ledger."""

    def __init__(self, town: Town, name: str, **options: Any) -> None:
        self.town, self.name = town, name
        self.folder = town.home / "work" / name
        for repository in (name, f"{name}-config"):
            town.git.create(repository)
        self.image = f"{town.cluster['registry']}/{name}"
        self._write_config(options.get("replicas", 4), hooks=options.get("hooks", False))
        self.write_spec(**options)
        self._start_source()

    # --- what the developer does --------------------------------------------------------------------------

    def push(self, version: str, *, bad: float = 0.01, ready: bool = True) -> str:
        """Push a version that fails this share of its requests; returns the commit."""
        (self.folder / "version.txt").write_text(f"{version} {bad} {'ready' if ready else 'ill'}\n")
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--message", f"Version {version}")
        git(self.folder, "push", "--quiet", "--set-upstream", "origin", "main")
        return git(self.folder, "rev-parse", "HEAD")

    def release(self, version: str, *, bad: float = 0.01, ready: bool = True) -> Release:
        """Push a version and make it a release in this process."""
        self.push(version, bad=bad, ready=ready)
        settings = self.town.settings().model_copy(update={"home": self.town.home / "hands"})
        spec = load_fleet(settings).application(self.name)
        fetched = integrate.fetch(spec, settings)
        with integrate.checkout(spec, settings, fetched.revision) as source:
            image = integrate.build(spec, source, fetched, _quietly)
        return integrate.record_release(spec, settings, fetched, image, ())

    def write_spec(
        self,
        *,
        canary: bool = True,
        stages: tuple[str, ...] = ("staging", "production"),
        approval: bool = False,
        thresholds: bool = False,
        weights: tuple[int, ...] = (20, 50),
        **_: Any,
    ) -> None:
        """The application's spec in the fleet folder."""
        spec = {
            "kind": "Application",
            "name": self.name,
            "source": {"git": self.town.git.url(self.name)},
            "integrate": {
                "build": {"kind": "archive", "image": self.image, "entrypoint": ["python", "app.py"]}
            },
            "config": {"git": self.town.git.url(f"{self.name}-config"), "render": "plain"},
            "stages": [self._stage(s, stages, canary, approval, thresholds, weights) for s in stages],
        }
        (self.town.fleet / f"{self.name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))

    def _stage(
        self,
        name: str,
        stages: tuple[str, ...],
        canary: bool,
        approval: bool,
        thresholds: bool,
        weights: tuple[int, ...],
    ) -> dict[str, Any]:
        namespace = self.namespace(name)
        kubeconfig = self.town.cluster["kubeconfig"]
        target = {
            "kind": "kubernetes",
            "namespace": namespace,
            "kubeconfig": kubeconfig,
            "create_namespace": True,
        }
        verify = [{"kind": "http", "url": f"http://shop.{namespace}.svc/healthz", "timeout": "5s"}]
        stage: dict[str, Any] = {"name": name, "path": f"shop/{name}", "target": target, "verify": verify}
        stage["progress_deadline"] = "40s"
        if len(stages) > 1 and name == stages[0]:
            return stage
        if len(stages) > 1:
            stage["after"] = {stages[0]: {"soak": "1s"}}
        if approval:
            stage["approval"] = {"need": 1}
        if canary:
            query = f'shop_requests_total{{namespace="{namespace}"}}'
            bad = f'shop_requests_total{{namespace="{namespace}",code="500"}}'
            check = {"kind": "ratio", "name": "errors", "bad": bad, "total": query, "max_ratio": 10}
            failing = "sum(rate(shop_requests_total{code='500'}[4s])) / sum(rate(shop_requests_total[4s]))"
            threshold = {"kind": "threshold", "name": "failing", "query": failing, "max": 0.1}
            metrics = {"kind": "prometheus", "url": self.town.prometheus.url}
            stage["rollout"] = {"kind": "canary", "weights": list(weights), "every": "4s"}
            stage["gate"] = {
                "metrics": metrics,
                "checks": [check, *([threshold] * thresholds)],
                "every": "4s",
                "scrape_interval": "1s",
            }
            stage["gate"] |= {"min_bake": "8s", "max_duration": "3m"}
        return stage

    def change_stage(self, **parts: Mapping[str, object]) -> None:
        """Put other values into the target or the gate of the first stage."""
        path = self.town.fleet / f"{self.name}.yaml"
        spec = yaml.safe_load(path.read_text())
        for part, values in parts.items():
            spec["stages"][0][part] |= values
        path.write_text(yaml.safe_dump(spec))

    def _write_config(self, replicas: int, *, hooks: bool) -> None:
        folder = self.town.home / "work" / f"{self.name}-config"
        for stage in ("staging", "production"):
            manifests = [
                _deployment(self.namespace(stage), self.image, 1 if stage == "staging" else replicas)
            ]
            manifests.append(_service(self.namespace(stage)))
            if hooks:
                manifests += [
                    _hook("migrate", "PreSync", self.image),
                    _hook("announce", "PostSync", self.image),
                ]
            path = folder / "shop" / stage
            path.mkdir(parents=True)
            (path / "shop.yaml").write_text("# the shop\n" + yaml.safe_dump_all(manifests, sort_keys=False))
        _start(folder, self.town.git.url(f"{self.name}-config"))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Say where the shop runs")
        git(folder, "push", "--quiet", "--set-upstream", "origin", "main")

    def _start_source(self) -> None:
        shutil.copytree(HERE / "shop", self.folder)
        _start(self.folder, self.town.git.url(self.name))

    # --- what anybody can see -----------------------------------------------------------------------------

    def namespace(self, stage: str) -> str:
        return f"{self.name}-{stage}"

    def records(self, stage: str | None = None, kind: Kind | None = None) -> list[Record]:
        """The ledger, read by a mirror of the test's own."""
        settings = self.town.settings().model_copy(update={"home": self.town.home / "eyes"})
        found = Ledger(Mirror(self.town.git.url(f"{self.name}-config"), settings)).records(self.name, stage)
        return [r for r in found if kind is None or r.kind is kind]

    def deployments(self, stage: str = "production") -> dict[str, dict[str, Any]]:
        """Live Deployments by name."""
        items = self.town.api(f"/apis/apps/v1/namespaces/{self.namespace(stage)}/deployments")["items"]
        return {item["metadata"]["name"]: item for item in items}

    def live_image(self, stage: str = "production") -> str:
        """The image the stable Deployment asks for."""
        template = self.deployments(stage)["shop"]["spec"]["template"]
        return str(template["spec"]["containers"][0]["image"])

    def version(self, stage: str = "production") -> str:
        """What the Service answers."""
        url = f"{self.town.cluster['url']}/api/v1/namespaces/{self.namespace(stage)}/services/shop:80/proxy/"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return str(reply.read().decode())

    def config_log(self) -> list[str]:
        """Subjects of the config repository's main branch, newest first."""
        bare = self.town.home / "git" / f"{self.name}-config.git"
        return git(bare, "log", "--format=%s", "main").splitlines()

    def refs(self) -> dict[str, str]:
        """All branches of the config repository."""
        bare = self.town.home / "git" / f"{self.name}-config.git"
        lines = git(bare, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ", 1) for line in lines)  # type: ignore[misc]


def living(town: Town, name: str, **options: Any) -> Shop:
    """A shop with one stage, in which version 1 is live."""
    shop = Shop(town, name, replicas=2, stages=("production",), **options)
    town.admit(name)
    shop.release("1")
    end = town.run("deliver", app=name)
    assert end["name"] == "Completed", end
    return shop


def _quietly(step: Step) -> StepResult:
    return run_step(step, on_line=lambda line: None, secrets=(), cancelled=threading.Event())


def _start(folder: Path, remote: str) -> None:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "Shop developer")
    git(folder, "config", "user.email", "developer@shop.example")
    git(folder, "remote", "add", "origin", remote)


def _deployment(namespace: str, image: str, replicas: int) -> dict[str, Any]:
    env = [
        {"name": "PORT", "value": "8080"},
        {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    probe = {"httpGet": {"path": "/metrics", "port": "http"}, "periodSeconds": 1}
    container = {"name": "shop", "image": image, "env": env, "readinessProbe": probe}
    container["ports"] = [{"name": "http", "containerPort": 8080}]
    template = {
        "metadata": {"labels": {"app": "shop"}, "annotations": {"prometheus.io/scrape": "true"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 2},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "shop"}}, "template": template},
    }


def _hook(name: str, phase: str, image: str) -> dict[str, Any]:
    """A Job that works with every version of the shop but those that say they are `spoilt`."""
    check = "import pathlib, sys; sys.exit('spoilt' in pathlib.Path('version.txt').read_text())"
    container = {"name": "work", "image": image, "command": ["python", "-c", check]}
    spec = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    meta = {"name": name, "annotations": {"argocd.argoproj.io/hook": phase}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def _service(namespace: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": {"app": "shop"}, "ports": ports}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": spec,
    }
