"""What is started for a container: arguments, environment and folder, in a root folder made from its image."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.sim.client import Object
from tidegate.sim.node.environment import (
    Lookup,
    StartError,
    command,
    process_env,
    resolve_env,
    resolve_program,
    working_folder,
)
from tidegate.sim.node.images import Image
from tidegate.sim.node.network import Address
from tidegate.sim.node.volumes import mount


@dataclass(frozen=True, slots=True)
class Program:
    """Ready to be started; also runs commands beside it (probes, hooks)."""

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    rootfs: Path

    async def execute(self, words: Sequence[str], within: float) -> tuple[int, str]:
        """Runs a command in the container's folder and environment; (exit code, output). Raises TimeoutError."""
        try:
            argv = resolve_program(words, self.env, self.rootfs) if words else [""]
        except StartError as error:
            return 127, str(error)
        child = await asyncio.create_subprocess_exec(
            *argv,
            cwd=self.cwd,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), within)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        return child.returncode or 0, output.decode("utf-8", "replace")


def fill(rootfs: Path, image: Image, container: Mapping[str, Any], volumes: Mapping[str, Path]) -> None:
    """A fresh copy of the image with the volumes linked in. Blocking."""
    shutil.rmtree(rootfs, ignore_errors=True)
    shutil.copytree(image.rootfs, rootfs, symlinks=True)
    (rootfs / "tmp").mkdir(exist_ok=True)
    mount(container, volumes, rootfs)


def describe(
    pod: Object,
    container: Mapping[str, Any],
    image: Image,
    rootfs: Path,
    address: Address,
    *,
    lookup: Lookup,
    services: Mapping[str, str],
) -> Program:
    """What to start in a filled `rootfs`. Blocking (ConfigMaps, Secrets); raises ConfigError or StartError."""
    ports = [int(port["containerPort"]) for port in container.get("ports") or []]
    own = resolve_env(pod, container, image.config, address, lookup)
    host = {"HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"]}
    env = process_env(own, rootfs, address, ports, {**host, **services})
    argv = command(container, image.config, env, rootfs)
    return Program(argv, env, working_folder(container, image.config, rootfs), rootfs)
