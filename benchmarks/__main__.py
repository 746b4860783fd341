"""`make bench`: run the benchmarks, print one table. `python -m benchmarks [NAME…] [--json FILE] [--strict]`."""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import benchmarks
from benchmarks.measuring import SLACK, Row
from benchmarks.table import text

ORDER = (
    "commit_to_deployed",
    "trigger_latency",
    "stage_overhead",
    "gate_decision",
    "git_sync",
    "cli_cold_start",
    "rendering",
    "rendering_tools",
    "planning",
    "peak_memory",
    "gate_power",
)
"""The order of the table; what is not named here comes last."""
LATE = ("stage_overhead", "trigger_latency", "commit_to_deployed", "peak_memory")
"""Run last: they need a Prefect server, which would disturb the others."""
PARTS = ("measuring", "table", "world", "journeys", "noted")
"""Modules that are no benchmarks."""


def names() -> list[str]:
    """All benchmarks in the order of the table."""
    found = {m.name for m in pkgutil.iter_modules(benchmarks.__path__)} - {"__main__", *PARTS}
    return [n for n in ORDER if n in found] + sorted(found - set(ORDER))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all ran; 1 when one broke, or with `--strict` missed a goal by over 15 %; 2 for a wrong name."""
    options = _options(arguments)
    if unknown := set(options.names) - set(names()):
        print(f"no benchmark {', '.join(sorted(unknown))}; there is {', '.join(names())}", file=sys.stderr)
        return 2
    chosen = [n for n in names() if not options.names or n in options.names]
    rows, broken = _run(chosen)
    table = text(rows)
    print(table, flush=True)
    if options.json:
        options.json.write_text(
            json.dumps([row.to_json() for row in rows], indent=1, ensure_ascii=False) + "\n"
        )
    missed = [row for row in rows if row.excess is not None and row.excess > SLACK]
    return 1 if broken or (options.strict and missed) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number here")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed by over 15 %%")
    return parser.parse_args(arguments)


def _run(chosen: Sequence[str]) -> tuple[list[Row], bool]:
    from benchmarks.world import World

    rows: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as home, World(Path(home)) as world:
        for name in sorted(chosen, key=lambda n: LATE.index(n) if n in LATE else -1):
            began = time.monotonic()
            try:
                rows[name] = import_module(f"benchmarks.{name}").run(world)
            except (Exception, SystemExit):
                traceback.print_exc()
            seconds, load = time.monotonic() - began, os.getloadavg()[0]
            said = "done" if name in rows else "BROKEN"
            print(f"{name}: {said} in {seconds:.0f} s (load {load:.1f})", file=sys.stderr, flush=True)
    return [row for name in chosen for row in rows.get(name, ())], len(rows) < len(chosen)


if __name__ == "__main__":
    sys.exit(main())
