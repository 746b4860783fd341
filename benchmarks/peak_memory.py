"""How much memory do runner, embedded cluster and Prefect server take while commits are delivered?

Resident memory of each part's processes, looked at four times a second during the journeys; the largest counts. The
floor of server and cluster is what they take before the first delivery, that of runner and flow run a Python that
has imported Prefect. The design names no limit; ours catches a part that grows with what it does. How many flow runs
there are at a time is not ours to say, so their sum has no goal; pages they share are counted in each.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.journeys import TOGETHER, journeys
from benchmarks.measuring import Goal, Row
from benchmarks.world import World
from tidegate.running.up import ROOT

MIB = 2**20
GOALS = {"peak": Goal(1.5, ours=True)}
_IMPORT = (
    "import prefect.flow_engine, prefect.workers.process, psutil; print(psutil.Process().memory_info().rss)"
)


def run(world: World) -> list[Row]:
    """A row per part."""
    found = journeys(world)
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    bare = int(done.stdout) / MIB
    rows = []
    for part, size in found.peak.items():
        at_rest = found.rest.get(part)
        said = "the same at rest" if at_rest else "Python that has imported Prefect"
        floor = at_rest / MIB if at_rest else bare
        what = f"peak memory: {part}"
        if part == TOGETHER:
            rows.append(Row(what, "MiB", [size / MIB]))
        else:
            rows.append(Row(what, "MiB", [size / MIB], GOALS["peak"], [floor], said))
    return rows
