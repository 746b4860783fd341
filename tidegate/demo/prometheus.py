"""Prometheus for the demo: the user's own binary, finding pods through the cluster's API."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tidegate.demo.places import PROMETHEUS_TEMPLATE, ROOT
from tidegate.errors import NotFound, Unreachable
from tidegate.running.processes import Processes, answers, free_port
from tidegate.settings import Settings

START_SECONDS = 60.0
WITHOUT_KUBERNETES = "kubernetes_sd_configs not found"
"""What a Prometheus that was built without Kubernetes support says about its configuration."""


def binary(settings: Settings) -> str:
    """TIDEGATE_PROMETHEUS, else the one on PATH; `NotFound` says what to do."""
    if settings.prometheus:
        if os.access(settings.prometheus, os.X_OK):
            return str(settings.prometheus)
        raise NotFound(f"TIDEGATE_PROMETHEUS={settings.prometheus} is not a program")
    found = shutil.which("prometheus")
    if found is None:
        raise NotFound(
            "prometheus is not on PATH; run `make setup`, or set TIDEGATE_PROMETHEUS to the binary"
        )
    return found


@dataclass(frozen=True)
class Prometheus:
    """Where it runs and what it watches."""

    processes: Processes
    folder: Path
    port: int
    cluster: str
    kubeconfig: Path
    env: dict[str, str]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, program: str) -> str:
        """Start it, wait until it is ready; how it finds the pods. `Unreachable` with the end of its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = Template(PROMETHEUS_TEMPLATE.read_text()).safe_substitute(
            KUBECONFIG=json.dumps(str(self.kubeconfig))
        )
        try:
            self._run(program, own)
        except Unreachable as refused:
            if WITHOUT_KUBERNETES not in str(refused):
                raise
            self._run(program, self._by_http(own))
            return "http_sd"
        return "kubernetes_sd"

    def _run(self, program: str, configuration: str) -> None:
        file = self.folder / "prometheus.yml"
        file.write_text(configuration)
        child = self.processes.start(
            "prometheus",
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            env=self.env,
        )
        self.processes.wait(child, lambda: answers(f"{self.url}/-/ready"), seconds=START_SECONDS)

    def _by_http(self, configuration: str) -> str:
        """The same configuration with `tidegate.demo.discovery` telling the targets."""
        port = free_port()
        words = ("--cluster", self.cluster, "--port", str(port))
        argv = [sys.executable, "-m", "tidegate.demo.discovery", *words]
        self.processes.start("discovery", argv, env=self.env, cwd=ROOT)
        head, _, rest = configuration.partition("    kubernetes_sd_configs:\n")
        _, _, rules = rest.partition("    relabel_configs:\n")
        asked = f"    http_sd_configs:\n      - url: http://127.0.0.1:{port}/\n        refresh_interval: 1s\n"
        return f"{head}{asked}    relabel_configs:\n{rules}"
