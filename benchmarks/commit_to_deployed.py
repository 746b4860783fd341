"""How long from `git push` until the cluster is told?

The application changes nothing but the image of one Deployment (of no pods) in a plain folder of ten manifests.
Time starts when `git push` returns and ends with the line in the API server's log that is the PATCH.

Warm: the config repository is pushed and `deliver` called in this process, as a receiver of webhooks would call it.
By poll: the source repository is pushed and everything else is left to the schedule of git-sync, the automation and
the runner; `journeys` has the numbers. The floor is the same I/O without Tidegate: `git fetch`, `ls-tree`,
`cat-file --batch`, YAML, one server-side apply by bare urllib3, and its event on an open watch.
"""

from __future__ import annotations

import json
import os
import queue
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml

from benchmarks.journeys import POLL_SECONDS, journeys
from benchmarks.measuring import Goal, Of, Row
from benchmarks.world import Clone, World, manifests, release_record
from tidegate.adapters.ledger import BRANCH
from tidegate.domain.release import Image

ROUNDS, OBJECTS = 10, 10
GOALS = {"ratio": Goal(3.0), "late": Goal(1000.0, Of.P95)}


def run(world: World) -> list[Row]:
    """Warm as ratio and as time, then by poll."""
    with _bare(world) as bare:
        deliver = _warm(world)
        mine, floor = [], []
        for number in range(1, ROUNDS + 2):
            taken = deliver(number), bare(number)
            if number > 1:  # the first ones warm up
                mine.append(taken[0])
                floor.append(taken[1])
    said = "git fetch, read and parse, one PATCH by urllib3, its watch event"
    what = "commit → deployed, warm `deliver`"
    walked = [1000 * (j.patched - j.pushed) for j in journeys(world).each]
    # in poll mode: the interval, and then what is asked for without it
    goal = Goal(1000 * POLL_SECONDS + GOALS["ratio"].limit * statistics.median(floor), Of.Median)
    return [
        Row(what, "ms", mine, GOALS["ratio"], floor, said),
        Row(f"{what}, the slow ones", "ms", mine, GOALS["late"]),
        Row(f"commit → deployed, by poll every {POLL_SECONDS:g} s", "ms", walked, goal, floor, said),
    ]


def _image(world: World, name: str, number: int) -> Image:
    return Image(world.image(name), f"sha256:{number:064x}")


def _warm(world: World) -> Callable[[int], float]:
    """A function that pushes image number n and delivers it; milliseconds from push to PATCH."""
    source, config = world.repository("warm"), world.repository("warm-config")
    head = source.push({"code.txt": "code\n"})
    config.push(manifests("warm", str(_image(world, "warm", 0)), OBJECTS))
    records = [release_record("warm", _image(world, "warm", n), head) for n in range(ROUNDS + 2)]
    config.fill(BRANCH, {record.path: record.to_json() for record in records})
    world.write_spec("warm", source.url, config.url)
    world.deliver("warm")

    def deliver(number: int) -> float:
        _push_image(config, "warm", str(_image(world, "warm", number)), number)
        pushed = time.time()
        world.deliver("warm")
        return 1000 * (world.patched("warm", pushed) - pushed)

    return deliver


def _push_image(config: Clone, name: str, image: str, number: int) -> None:
    files = manifests(name, image, OBJECTS)
    config.push({f"{name}/deployment.yaml": f"# image {number}\n{files[f'{name}/deployment.yaml']}"})


@contextmanager
def _bare(world: World) -> Iterator[Callable[[int], float]]:
    """The same without Tidegate: milliseconds from push to the watch event."""
    config = world.repository("bare-config")
    config.push(manifests("bare", str(_image(world, "bare", 0)), OBJECTS))
    mirror = world.home / "bare-mirror"
    _git(mirror.parent, "clone", "--quiet", "--bare", config.url, str(mirror))
    http, api = urllib3.PoolManager(), world.cluster["url"]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bare"}}
    http.request("POST", f"{api}/api/v1/namespaces", json=namespace)
    events: queue.Queue[float] = queue.Queue()
    url = f"{api}/apis/apps/v1/namespaces/bare/deployments"
    with _watch(f"{url}?watch=true", events):

        def once(number: int) -> float:
            _push_image(config, "bare", str(_image(world, "bare", number)), number)
            while not events.empty():
                events.get_nowait()
            pushed = time.time()
            _git(mirror, "fetch", "--quiet", "origin", "+refs/heads/main:refs/heads/main")
            found = [yaml.load(text, yaml.CSafeLoader) for text in _files(mirror, "bare")]
            deployment = next(m for m in found if m["kind"] == "Deployment")
            _apply(http, f"{url}/bare", deployment)
            return 1000 * (events.get(timeout=20) - pushed)

        yield once


def _git(folder: Path, *words: str, stdin: bytes = b"") -> bytes:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, input=stdin, capture_output=True, timeout=30, check=True
    )
    return done.stdout


def _files(mirror: Path, folder: str) -> Iterator[bytes]:
    """Contents of all files of a folder at `main`."""
    rows = _git(mirror, "ls-tree", "-r", "main", f"{folder}/").decode().splitlines()
    ids = "".join(f"{row.split()[2]}\n" for row in rows)
    output, at = _git(mirror, "cat-file", "--batch", stdin=ids.encode()), 0
    while at < len(output):
        end = output.index(b"\n", at)
        size = int(output[at:end].split()[2])
        yield output[end + 1 : end + 1 + size]
        at = end + size + 2


def _apply(http: urllib3.PoolManager, url: str, manifest: dict[str, Any]) -> None:
    answer = http.request(
        "PATCH",
        f"{url}?fieldManager=bare&force=true",
        body=json.dumps(manifest).encode(),
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert answer.status in (200, 201), answer.data


@contextmanager
def _watch(url: str, events: queue.Queue[float]) -> Iterator[None]:
    """Puts the time of every event of a watch into a queue."""
    reply = urllib3.PoolManager().request(
        "GET", url, preload_content=False, timeout=urllib3.Timeout(connect=5, read=300)
    )

    def listen() -> None:
        try:
            for _ in reply.read_chunked():
                events.put(time.time())
        except (urllib3.exceptions.HTTPError, ValueError, OSError, AttributeError):
            return  # closed at the end

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        reply.shutdown()  # `close` alone would wait for the reader
        thread.join(timeout=5)
        reply.close()
