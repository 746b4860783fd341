"""One container of a pod: its image pulled, its process started, probed, watched, and started again with back-off."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tidegate.errors import OutsideError
from tidegate.sim.client import Object, timestamp
from tidegate.sim.events import NORMAL, WARNING, Recorder
from tidegate.sim.node import logs, process
from tidegate.sim.node.environment import ConfigError, Lookup, StartError
from tidegate.sim.node.images import Image, ImageError, ImageStore
from tidegate.sim.node.network import Address
from tidegate.sim.node.prober import Prober, Reactions
from tidegate.sim.node.probes import Probe, attempt
from tidegate.sim.node.process import Process
from tidegate.sim.node.program import Program, describe, fill
from tidegate.sim.node.status import ContainerState, restarts_after, terminated, waiting

T = TypeVar("T")
CALM_SECONDS = 600.0
"""A container that ran this long starts with no back-off again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds kubelet waits; tests shorten them."""

    backoff: float = 10.0
    longest_backoff: float = 300.0
    settle: float = 0.2
    """Between leaving the endpoints and SIGTERM, so that proxies have heard of it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What containers of one node share."""

    images: ImageStore
    recorder: Recorder
    executor: Executor
    timing: Timing
    services: Callable[[str], Mapping[str, str]]
    """Namespace → environment variables that tell where its Services answer."""

    async def blocking(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, function, *args)


@dataclass(frozen=True, slots=True)
class PodContext:
    """What containers of one pod share."""

    pod: Callable[[], Object]
    address: Address
    volumes: Mapping[str, Path]
    lookup: Lookup
    changed: Callable[[], None]
    """To be called when a container's state has changed."""


def run_folder(container: Path, identity: str) -> Path:
    """Where one run of a container keeps its pid and exit code."""
    return container / "runs" / identity


class Container:
    """Runs one container of a pod on the agent's loop."""

    def __init__(
        self,
        machine: Machine,
        context: PodContext,
        spec: Mapping[str, Any],
        state: ContainerState,
        folder: Path,
    ) -> None:
        self.spec = spec
        self.state = state
        self.name: str = spec["name"]
        self.up = asyncio.Event()
        """Set once started (and past its startup probe)."""
        self._machine = machine
        self._context = context
        self._folder = folder
        self._process: Process | None = None
        self._program: Program | None = None
        self._delay = 0.0
        self._stopping = False
        self._probes: Prober | None = None
        self._rootfs = folder / "rootfs"

    @property
    def log(self) -> Path:
        return logs.log_path(self._folder, self.state.restarts)

    @property
    def _run_folder(self) -> Path:
        return run_folder(self._folder, self.state.identity)

    @property
    def previous_log(self) -> Path:
        return logs.log_path(self._folder, self.state.restarts - 1)

    # -- life ----------------------------------------------------------------------------------------------

    async def keep(self, policy: str) -> int:
        """Runs until it ends for good under the restart policy; the last exit code."""
        code = await self._resume(policy)
        while code is None or (restarts_after(policy, code) and not self._stopping):
            if code is not None:
                await self._back_off()
            code = await self._run(again=code is not None)
        return code

    async def _resume(self, policy: str) -> int | None:
        """Goes on from what an earlier agent left: an adopted process, or the way it ended."""
        if not self.state.identity:
            return None
        self._process = process.adopt(self._run_folder)
        if self._process is not None:
            self._program = await self._machine.blocking(self._adopted_program)
            if not self.state.running:  # the earlier agent died between starting it and writing that down
                self.state.state = {"running": {"startedAt": timestamp()}}
            return await self._watch()
        await self._machine.blocking(process.kill_strays, self._run_folder)
        if self.state.running:
            if self.state.interrupted:
                self.state.interrupted = False
                return None
            code = process.exit_code(self._run_folder)
            self._end(process.KILLED if code is None else code)
        return self.state.exit_code

    async def _run(self, *, again: bool) -> int:
        image = await self._image()
        while True:
            try:
                await self._start(image, again)
            except ConfigError as error:
                self._wait_for("CreateContainerConfigError", str(error))
                self._event(WARNING, "Failed", f"Error: {error}")
            except StartError as error:
                return self._not_started(str(error), again)
            except OSError as error:
                return self._not_started(f"cannot start: {error}", again)
            else:
                return await self._watch()
            await asyncio.sleep(min(self._machine.timing.backoff, 2.0))

    async def _watch(self) -> int:
        """From running to ended."""
        running = self._process
        assert running is not None
        began = time.monotonic()
        self.up.clear()
        self._probes = self._prober()
        self._probes.start(started=self.state.started)
        try:
            code = await running.wait()
        finally:
            self._probes.stop()
        if time.monotonic() - began > CALM_SECONDS:
            self._delay = 0.0
        self._end(code)
        return code

    def _end(self, code: int) -> None:
        started = (self.state.state.get("running") or {}).get("startedAt", "")
        message = self._last_words() if code else ""
        self.state.state = terminated(code, started, self.state.identity, message)
        self.state.ready = self.state.started = False
        self._process = None
        self._context.changed()

    def _last_words(self) -> str:
        path = self.spec.get("terminationMessagePath") or "/dev/termination-log"
        told = logs.tail(self._rootfs / path.lstrip("/"), 80, 4096).decode("utf-8", "replace").strip()
        return told or logs.last_words(self.log)

    def _not_started(self, message: str, again: bool) -> int:
        self._renew(again)
        self.state.state = terminated(128, "", self.state.identity, message, "StartError")
        self._event(WARNING, "Failed", f"Error: {message}")
        self._context.changed()
        return 128

    async def _back_off(self) -> None:
        """None before the first restart, then 10 s doubling to 5 min (kubelet)."""
        timing = self._machine.timing
        if self._delay:
            meta = self._context.pod()["metadata"]
            where = f"container={self.name} pod={meta['name']}_{meta['namespace']}({meta['uid']})"
            self._wait_for("CrashLoopBackOff", f"back-off {self._delay:g}s restarting failed {where}")
            told = (
                f"Back-off restarting failed container {self.name} in pod {meta['name']}_{meta['namespace']}"
            )
            self._event(WARNING, "BackOff", told)
            await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2 or timing.backoff, timing.longest_backoff)

    def _wait_for(self, reason: str, message: str) -> None:
        if "terminated" in self.state.state:
            self.state.last = self.state.state
        self.state.state = waiting(reason, message)
        self._context.changed()

    # -- starting ------------------------------------------------------------------------------------------

    async def _image(self) -> Image:
        """The image, however long it takes; what is wrong stands in the status meanwhile."""
        name = self.state.image = self.spec["image"]
        delay = self._machine.timing.backoff
        while True:
            try:
                return await self._pull(name)
            except ImageError as error:
                self._event(WARNING, "Failed", f'Failed to pull image "{name}": {error}')
                self._event(WARNING, "Failed", f"Error: {error.reason}")
                self._wait_for(error.reason, str(error))
                await asyncio.sleep(min(1.0, delay))
                if error.reason == "ErrImagePull":
                    self._wait_for(
                        "ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {error}'
                    )
                    self._event(NORMAL, "BackOff", f'Back-off pulling image "{name}"')
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._machine.timing.longest_backoff)

    async def _pull(self, name: str) -> Image:
        policy = self.spec.get("imagePullPolicy") or "IfNotPresent"
        found = self._machine.images.find(name)
        if found is not None and (policy != "Always" or "@sha256:" in name):
            self._event(NORMAL, "Pulled", f'Container image "{name}" already present on machine')
            return found
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            raise ImageError(message, "ErrImageNeverPull")
        self._event(NORMAL, "Pulling", f'Pulling image "{name}"')
        began = time.monotonic()
        image = await self._machine.blocking(self._machine.images.pull, name)
        took = f"{(time.monotonic() - began) * 1000:.0f}ms"
        self._event(NORMAL, "Pulled", f'Successfully pulled image "{name}" in {took}')
        return image

    async def _start(self, image: Image, again: bool) -> None:
        program = await self._machine.blocking(self._prepare, image)
        self._renew(again)
        self.state.image_id = f"{self.spec['image'].partition('@')[0]}@{image.digest}"
        logs.drop_old(self._folder, self.state.restarts)
        self._event(NORMAL, "Created", f"Created container: {self.name}")
        run = self._run_folder

        def begin() -> Process:
            return process.start(run, program.argv, cwd=program.cwd, env=program.env, log=self.log)

        self._context.changed()  # the identity must be on disk before the process is
        starting = asyncio.ensure_future(self._machine.blocking(begin))
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._process = await starting  # whoever cancels us must find it, to stop it
            raise
        self._program = program
        self.state.state = {"running": {"startedAt": timestamp()}}
        self._event(NORMAL, "Started", f"Started container {self.name}")
        await self._post_start()
        self._context.changed()

    def _renew(self, again: bool) -> None:
        """A new run of the container: a new id, and what it was becomes lastState."""
        shutil.rmtree(self._folder / "runs", ignore_errors=True)
        if "terminated" in self.state.state:
            self.state.last = self.state.state
        self.state.restarts += 1 if again else 0
        self.state.identity = uuid.uuid4().hex

    def _prepare(self, image: Image) -> Program:
        fill(self._rootfs, image, self.spec, self._context.volumes)
        return self._describe(image)

    def _describe(self, image: Image) -> Program:
        context, pod = self._context, self._context.pod()
        services = self._machine.services(pod["metadata"]["namespace"])
        return describe(
            pod, self.spec, image, self._rootfs, context.address, lookup=context.lookup, services=services
        )

    def _adopted_program(self) -> Program | None:
        """What probes by command need; None when the image is gone."""
        with contextlib.suppress(OutsideError, OSError):
            image = self._machine.images.find(self.spec["image"])
            if image is not None:
                return self._describe(image)
        return None

    # -- probes and hooks ----------------------------------------------------------------------------------

    def _prober(self) -> Prober:
        told = Reactions(self._is_up, self._set_ready, self._is_unhealthy, self._kill)
        return Prober(self.spec, self._context.address, self.execute, told)

    def _is_up(self) -> None:
        self.state.started = True
        if not self.spec.get("readinessProbe"):
            self.state.ready = True
        self.up.set()
        self._context.changed()

    def _set_ready(self, ready: bool) -> None:
        if self.state.ready != ready:
            self.state.ready = ready
            self._context.changed()

    def _is_unhealthy(self, message: str) -> None:
        self._event(WARNING, "Unhealthy", message)

    async def _kill(self, what: str, probe: Probe) -> None:
        self._event(NORMAL, "Killing", f"Container {self.name} failed {what} probe, will be restarted")
        grace = probe.action.get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self._context.pod()["spec"].get("terminationGracePeriodSeconds", 30)
        self._set_ready(False)
        if self._process is not None:
            # The end cancels the very task we run in; stopping must go on regardless.
            await asyncio.shield(asyncio.ensure_future(self._process.stop(float(grace))))

    async def _post_start(self) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("postStart") or {}
        if "exec" in hook:
            code, output = await self.execute(hook["exec"].get("command") or [], 30.0)
            if code:
                self._event(WARNING, "FailedPostStartHook", f"postStart ended with {code}: {output[-200:]}")

    async def execute(self, words: Sequence[str], within: float) -> tuple[int, str]:
        """Runs a command in the container's folder and environment; (exit code, output)."""
        if self._program is None:
            return 1, "the container's program is not known"
        return await self._program.execute(words, within)

    # -- stopping ------------------------------------------------------------------------------------------

    async def stop(self, grace: float, *, hooks: bool = True) -> None:
        """preStop, SIGTERM, and SIGKILL when `grace` seconds have passed; returns when the process is gone."""
        self._stopping = True
        running = self._process
        if self._probes is not None:
            self._probes.stop()
        if running is None or not running.running:
            return
        until = time.monotonic() + grace
        if hooks:
            self._event(NORMAL, "Killing", f"Stopping container {self.name}")
            await asyncio.sleep(min(self._machine.timing.settle, grace))
            await self._pre_stop(max(until - time.monotonic(), 0.01))
        await running.stop(until - time.monotonic())

    async def _pre_stop(self, within: float) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop") or {}
        if "sleep" in hook:
            await asyncio.sleep(min(float(hook["sleep"].get("seconds") or 0), within))
        elif hook:
            probe = Probe(hook, 0, 0, within, 1, 1)
            result = await attempt(probe, self.spec, self._context.address, self.execute)
            if not result.ok:
                self._event(WARNING, "FailedPreStopHook", f"preStop failed: {result.message}")

    def rotate_log(self) -> None:
        if self.state.running:
            logs.rotate(self.log)

    @property
    def alive(self) -> bool:
        return self._process is not None

    def _event(self, kind: str, reason: str, message: str) -> None:
        path = f"spec.containers{{{self.name}}}"
        self._machine.recorder.event(self._context.pod(), kind, reason, message, path)
