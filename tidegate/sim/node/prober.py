"""The probes of one running container: when it has started, whether it is ready, whether it must be restarted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.sim.node.network import Address
from tidegate.sim.node.probes import Probe, Result, RunCommand, attempt

FAST_SECONDS = 0.5
"""Until it answers well for the first time a container is asked this often: a long period is meant for later."""
STARTING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reactions:
    """What the container does about it. `failing(what, probe)` must restart it."""

    started: Callable[[], None]
    ready: Callable[[bool], None]
    unhealthy: Callable[[str], None]
    failing: Callable[[str, Probe], Awaitable[None]]


class Prober:
    """Tasks that ask from the start of a container's process until `stop`."""

    def __init__(
        self, spec: Mapping[str, Any], address: Address, run: RunCommand, reactions: Reactions
    ) -> None:
        self._spec = spec
        self._address = address
        self._run = run
        self._reactions = reactions
        self._up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, started: bool) -> None:
        """`started`: it is past its startup probe already (adopted)."""
        startup = Probe.of(self._spec.get("startupProbe"))
        readiness = Probe.of(self._spec.get("readinessProbe"))
        liveness = Probe.of(self._spec.get("livenessProbe"))
        if startup is None or started:
            self._is_up()
        else:
            self._begin(self._until_started(startup))
        if readiness is not None:
            self._begin(self._watch_readiness(readiness))
        if liveness is not None:
            self._begin(self._watch_liveness(liveness))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def _begin(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    def _is_up(self) -> None:
        self._reactions.started()
        self._up.set()

    async def _ask(self, probe: Probe) -> Result:
        return await attempt(probe, self._spec, self._address, self._run)

    async def _until_started(self, probe: Probe) -> None:
        """Failures count once per period; in the first one it is asked more often, and failures do not count."""
        await asyncio.sleep(probe.delay)
        began = time.monotonic()
        while time.monotonic() - began < probe.period:
            if (await self._ask(probe)).ok:
                return self._is_up()
            await asyncio.sleep(min(FAST_SECONDS, probe.period))
        for _ in range(probe.failures):
            result = await self._ask(probe)
            if result.ok:
                return self._is_up()
            self._reactions.unhealthy(f"Startup probe failed: {result.message}")
            await asyncio.sleep(probe.period)
        return await self._reactions.failing("startup", probe)

    async def _watch_readiness(self, probe: Probe) -> None:
        await self._up.wait()
        await asyncio.sleep(probe.delay)
        began, good, bad, ready = time.monotonic(), 0, 0, False
        while True:
            result = await self._ask(probe)
            age = time.monotonic() - began
            good, bad = (good + 1, 0) if result.ok else (0, bad + 1)
            if not result.ok and age > min(probe.period, 5.0):
                self._reactions.unhealthy(f"Readiness probe failed: {result.message}")
            if good >= probe.successes or bad >= probe.failures:
                ready = result.ok
                self._reactions.ready(ready)
            starting = not ready and age < max(STARTING_SECONDS, probe.period)
            await asyncio.sleep(min(probe.period, FAST_SECONDS) if starting else probe.period)

    async def _watch_liveness(self, probe: Probe) -> None:
        await self._up.wait()
        await asyncio.sleep(probe.delay)
        failures = 0
        while failures < probe.failures:
            result = await self._ask(probe)
            failures = 0 if result.ok else failures + 1
            if not result.ok:
                self._reactions.unhealthy(f"Liveness probe failed: {result.message}")
            if failures < probe.failures:
                await asyncio.sleep(probe.period)
        await self._reactions.failing("liveness", probe)
