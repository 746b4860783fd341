"""What does the command line cost before it does anything? (`design/faults.md` §2, row 10)

Fresh processes in turn, CPU time (user and system) by `wait4`, the median of seven each after one to warm the disk
cache. Floors, in the same run: bare Python; the imports a lean `plan` cannot do without. Goals: `--help` at most
4 times bare Python; `plan` of ten objects at most 1.5 times its lean imports plus its own I/O (Git and the API
server's answers, measured as a second `plan` in a warm process); never more than a tenth of `prefect --help`
for `--help`.

    python benchmarks/cli_cold_start.py [--rounds 7] [--no-plan]

Exit code 1 when a goal is missed by over 15 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SLACK = 1.15
LEAN = "import yaml, pydantic, urllib3, git, click"
SPEC = """\
kind: Application
name: shop
source: {{git: "{git}"}}
integrate: {{build: {{kind: archive, image: registry.example/shop, entrypoint: [shop]}}}}
config: {{git: "{git}"}}
stages:
  - {{name: production, path: shop, target: {{kind: kubernetes, kubeconfig: "{kubeconfig}"}}}}
"""
OBJECT = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: part-{number}, labels: {{app: shop}}}}
data: {{value: "{number}"}}
---
"""


def cpu_ms(words: Sequence[str], env: Mapping[str, str]) -> float:
    """CPU of one fresh process and its children, in milliseconds."""
    child = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env}
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(words)} exited {child.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000


@contextmanager
def shop(folder: Path) -> Iterator[dict[str, str]]:
    """Ten objects in Git and in an API server, nothing to change; the environment that names them."""
    from tidegate.sim.apiserver import ApiServer
    from tidegate.sim.git_server import GitServer

    work = folder / "work"
    (work / "shop").mkdir(parents=True)
    (work / "shop" / "parts.yaml").write_text("".join(OBJECT.format(number=n) for n in range(10)))
    git = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@example"]
    with ApiServer() as cluster, GitServer(folder / "served") as server:
        server.create("fleet")
        url = server.url("fleet")
        for words in (
            ["init", "-q", "-b", "main"],
            ["add", "."],
            ["commit", "-q", "-m", "x"],
            ["push", "-q", url, "main"],
        ):
            subprocess.run([*git, *words], check=True, timeout=30)
        kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig")
        (folder / "shop.yaml").write_text(SPEC.format(git=url, kubeconfig=kubeconfig))
        yield {
            "TIDEGATE_FLEET": str(folder / "shop.yaml"),
            "TIDEGATE_HOME": str(folder / "home"),
            "TIDEGATE_GIT_PROTOCOLS": "http",
        }


def plan_io_ms(env: Mapping[str, str]) -> float:
    """CPU of the second `plan` in one process: what remains when everything is loaded."""
    script = (
        "import resource, sys\n"
        "from tidegate.cli import main\n"
        "def used():\n"
        "    both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "    return sum(u.ru_utime + u.ru_stime for u in both)\n"
        "main(['plan', 'shop'])\n"
        "before = used()\n"
        "main(['plan', 'shop'])\n"
        "print(1000 * (used() - before), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=True,
        timeout=60,
    )
    return float(done.stderr.splitlines()[-1])


def medians(asked: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of each, measured in turn so that a busy moment hits all alike."""
    for one in asked.values():
        one()
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, one in asked.items():
            found[name].append(one())
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-plan", action="store_true", help="only what needs no servers")
    given = parser.parse_args()
    python, tidegate = sys.executable, str(Path(sys.executable).parent / "tidegate")
    prefect = str(Path(sys.executable).parent / "prefect")
    with tempfile.TemporaryDirectory() as name, shop(Path(name)) as env:

        def fresh(*words: str) -> Callable[[], float]:
            return lambda: cpu_ms(words, env)

        asked = {
            "bare python": fresh(python, "-c", "pass"),
            "lean imports": fresh(python, "-c", LEAN),
            "prefect --help": fresh(prefect, "--help"),
            "--help": fresh(tidegate, "--help"),
            "--version": fresh(tidegate, "--version"),
            "validate": fresh(tidegate, "validate"),
        }
        if not given.no_plan:
            asked |= {"plan, warm": lambda: plan_io_ms(env), "plan": fresh(tidegate, "plan", "shop")}
        began = time.monotonic()
        found = medians(asked, given.rounds)
    return report(found, time.monotonic() - began)


def report(found: Mapping[str, float], seconds: float) -> int:
    """Each row with its floor and goal."""
    bare, lean = found["bare python"], found["lean imports"]
    rows = [
        ("tidegate --help", found["--help"], "bare python", bare, 4.0),
        ("tidegate --help", found["--help"], "prefect --help", found["prefect --help"], 0.1),
        ("tidegate --version", found["--version"], "bare python", bare, None),
        ("tidegate validate", found["validate"], "lean imports", lean, None),
    ]
    if "plan" in found:
        floor = lean + found["plan, warm"]
        rows.append(("tidegate plan, 10 objects", found["plan"], "lean imports + warm plan", floor, 1.5))
    print(f"{'command':27}{'CPU ms':>8}  {'floor':26}{'CPU ms':>8}{'ratio':>7}{'goal':>7}")
    missed = False
    for name, value, floor_name, floor, goal in rows:
        ratio = value / floor
        late = goal is not None and ratio > goal * SLACK
        missed |= late
        shown = "" if goal is None else f"≤ {goal:g}"
        print(
            f"{name:27}{value:8.0f}  {floor_name:26}{floor:8.0f}{ratio:7.2f}{shown:>7}{'  missed' if late else ''}"
        )
    print(f"({seconds:.0f} s)")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
