"""How much does a gate cost beyond its queries?

A gate of five ratio checks reads an hour of one-minute checks from a real Prometheus and decides. The floor is the
same five range queries on a bare `requests` session, read as JSON, in turn with the candidate. Goals: our own part
is at most 3 times that floor, and at most 50 ms; the rest is what Prometheus needs for the window asked for.

Needs `prometheus` and `promtool` on PATH (or `TIDEGATE_PROMETHEUS`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from benchmarks.measuring import Cost, Goal, Of, Row, in_turn
from benchmarks.world import World
from tidegate.adapters.metrics.prometheus import Settings, build
from tidegate.domain.gate import Outcome, evaluate
from tidegate.spec import Gate, Ratio, Section

START, MINUTES, CHECKS, REPEATS = 1_700_000_040, 60, 5, 50
GOALS = {"ratio": Goal(3.0), "own": Goal(50.0, Of.Median)}


@contextlib.contextmanager
def prometheus() -> Iterator[str]:
    """The URL of a Prometheus that holds an hour of both arms, scraped every 15 s."""
    binary = (
        os.environ.get("TIDEGATE_PROMETHEUS")
        or shutil.which("prometheus")
        or sys.exit("no prometheus on PATH")
    )
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        folder, port = Path(name), probe.getsockname()[1]
        probe.close()
        (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
        (folder / "history").write_text(history())
        subprocess.run(
            [
                "promtool",
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                str(folder / "history"),
                str(folder / "data"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        arguments += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y"]
        process = subprocess.Popen([binary, *arguments, "--log.level=error"], stderr=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def history() -> str:
    """Counters by check, track, code and pod: 2 canary and 6 stable pods."""
    lines = []
    for check in range(CHECKS):
        lines.append(f"# TYPE req{check}_total unknown")
        for track, pods in (("canary", 2), ("stable", 6)):
            for pod in range(pods):
                for code, rate in (("200", 10.0), ("500", 0.1 + 0.01 * pod)):
                    labels = f'{{track="{track}",pod="{pod}",code="{code}"}}'
                    lines += [
                        f"req{check}_total{labels} {rate * s:g} {START + s}"
                        for s in range(0, 60 * MINUTES + 1, 15)
                    ]
    return "\n".join([*lines, "# EOF", ""])


def wait_for(url: str) -> None:
    """Until it answers 200; at most 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    sys.exit(f"{url} does not answer")


def gate() -> Gate:
    """Five ratio checks that bake longer than the hour, so that all of it is read and judged."""
    checks = tuple(
        Ratio(name=f"errors-{i}", bad=f'req{i}_total{{code="500"}}', total=f"req{i}_total")
        for i in range(CHECKS)
    )
    return Gate(metrics=Section(kind="prometheus"), checks=checks, min_bake="2h", max_duration="3h")


def run(world: World | None = None, *, repeats: int = REPEATS) -> list[Row]:
    """Own CPU by the floor's, and own part of the decision in milliseconds."""
    rounds = decide(repeats)
    own_cpu = [1000 * (ours.cpu - low.cpu) for low, ours in rounds]
    own_wall = [1000 * (ours.wall - low.wall) for low, ours in rounds]
    queries_cpu = [1000 * low.cpu for low, _ in rounds]
    said = f"{CHECKS} range queries on a bare requests session"
    what = f"gate of {CHECKS} queries, own part"
    return [
        Row(f"{what}, CPU", "ms", own_cpu, GOALS["ratio"], queries_cpu, said, digits=1),
        Row(what, "ms", own_wall, GOALS["own"], [1000 * low.wall for low, _ in rounds], said, digits=1),
    ]


def decide(repeats: int) -> list[tuple[Cost, Cost]]:
    """What bare queries and whole decisions cost, in turn."""
    spec, now = gate(), START + 60 * MINUTES
    with prometheus() as url:
        source, session = build(Settings(url=url)), requests.Session()
        session.trust_env = False
        queries = [text for texts in source.queries(spec).values() for text in texts]

        def floor() -> None:
            for query in queries:
                window: dict[str, str | int] = {"query": query, "start": START + 60, "end": now, "step": 60}
                session.get(f"{url}/api/v1/query_range", params=window, timeout=10).json()

        def candidate() -> None:
            samples = source.collect(spec, started=START, now=now)
            verdict = evaluate(spec, samples, started=START, now=now)
            assert verdict.outcome is Outcome.Running, verdict.message
            assert all(sample.gap is None for part in verdict.parts for sample in part.samples)

        low, ours = in_turn(floor, candidate, rounds=repeats)
    return list(zip(low, ours, strict=True))
