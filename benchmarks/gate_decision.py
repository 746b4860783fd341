"""How much does a gate cost beyond its queries? (`design/faults.md` §2, row 9)

A gate of five ratio checks reads an hour of one-minute checks from a real Prometheus and decides. The floor is the
same five range queries on a bare `requests` session, read as JSON, in turn with the candidate. Goals: our own part
is at most 3 times that floor, and at most 50 ms; the rest is what Prometheus needs for the window asked for.

    python benchmarks/gate_decision.py [--repeats 50]

Needs `prometheus` and `promtool` on PATH (or `TIDEGATE_PROMETHEUS`). Exit code 1 when a goal is missed by over 15 %.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from tidegate.adapters.metrics.prometheus import Settings, build
from tidegate.domain.gate import Outcome, evaluate
from tidegate.spec import Gate, Ratio, Section

START, MINUTES, CHECKS = 1_700_000_040, 60, 5
GOAL_RATIO, GOAL_MS, SLACK = 3.0, 50.0, 1.15


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


def measured(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one call."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    action()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * wall, 1000 * cpu


def main() -> int:
    """Print the row; 1 when a goal is missed by more than the slack."""
    parser = argparse.ArgumentParser(description="cost of a gate decision")
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
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

        candidate()  # warm up
        floor()
        rounds = [(measured(floor), measured(candidate)) for _ in range(repeats)]
    cpu = row("CPU", [(low[1], ours[1]) for low, ours in rounds])
    wall = row("wall", [(low[0], ours[0]) for low, ours in rounds])
    kept = cpu[0] <= GOAL_RATIO * SLACK and wall[1] <= GOAL_MS * SLACK
    goals = f"own CPU ≤ {GOAL_RATIO:g}× the floor's, own part of the decision ≤ {GOAL_MS:g} ms"
    print(f"goals: {goals}: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def row(kind: str, rounds: list[tuple[float, float]]) -> tuple[float, float]:
    """Print medians; our own part as a multiple of the floor, and in milliseconds."""
    low, ours = (statistics.median(each[side] for each in rounds) for side in (0, 1))
    late = sorted(each[1] for each in rounds)[int(0.95 * len(rounds))]
    own = statistics.median(each[1] - each[0] for each in rounds)
    print(
        f"gate of {CHECKS} queries, {kind}: {ours:.1f} ms (p95 {late:.1f}), "
        f"floor {low:.1f} ms, own {own:.1f} ms = {own / low:.2f}×"
    )
    return own / low, own


if __name__ == "__main__":
    sys.exit(main())
