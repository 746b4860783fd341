"""The people who use digits: steady, labelled requests to its Service; each answer is one line of a log.

    python -m tidegate.demo.visitor --service URL-OF-THE-SERVICE-OBJECT --log answers.jsonl

The images are those nobody trained on, with a scanner's noise. A fixed share of the visitors has older
scanners, which send pixels with decimals. The same requests in the same order every time.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import IO
from urllib.request import urlopen

ADDRESS = "tidegate.dev/local-address"
OLD_SCANNERS = (7, 25)
"""7 of 25 visitors."""
NOISE = 4
HELD_OUT_EVERY = 4
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, ready to be sent, and the answer that would be right."""

    message: bytes
    label: int
    old: bool
    """From an older scanner: pixels with decimals."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got."""

    at: float
    """When the request was sent, seconds since the epoch."""
    code: int
    """HTTP status; 0 when no answer came."""
    right: bool
    old: bool
    pod: str
    seconds: float

    @property
    def hurt(self) -> bool:
        """The service failed this visitor: an error of its own, or no answer at all."""
        return self.code == 0 or self.code >= 500


def visits(data: Path) -> Iterator[Visit]:
    """Requests without end, the same ones every time."""
    with gzip.open(data, "rt", newline="") as text:
        rows = [[int(cell) for cell in row] for row in csv.reader(text)]
    held_out = rows[::HELD_OUT_EVERY]
    dice = random.Random(8)  # noqa: S311 -- a scanner's noise, not a secret
    old, of = OLD_SCANNERS
    for number in count():
        *pixels, label = held_out[number % len(held_out)]
        is_old = number * old % of < old
        yield Visit(_message(_scan(pixels, dice, is_old), label), label, is_old)


def _scan(pixels: list[int], dice: random.Random, old: bool) -> list[float]:
    noisy = (min(16, max(0, pixel + dice.randint(-NOISE, NOISE))) for pixel in pixels)
    return [float(pixel) for pixel in noisy] if old else list(noisy)


def _message(image: list[float], label: int) -> bytes:
    body = json.dumps({"image": image, "label": label}, separators=(",", ":")).encode()
    head = (
        "POST /predict HTTP/1.1\r\nHost: digits\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def send(host: str, port: int, visit: Visit) -> Answer:
    """Send one request on its own connection; an answer that never comes has code 0."""
    began, clock = time.time(), time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await _exchange(host, port, visit.message)
        code, digit, pod = _read(reply)
    except (OSError, TimeoutError, ValueError):
        code, digit, pod = 0, None, ""
    right = code == 200 and digit == visit.label
    return Answer(round(began, 3), code, right, visit.old, pod, round(time.perf_counter() - clock, 4))


async def _exchange(host: str, port: int, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(message)
        return await reader.read(-1)
    finally:
        writer.close()


def _read(reply: bytes) -> tuple[int, int | None, str]:
    """Status code, digit and pod of a whole HTTP reply; `ValueError` when it is cut short."""
    head, gap, body = reply.partition(b"\r\n\r\n")
    if not gap:
        raise ValueError("no complete reply")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    document = json.loads(body)
    return int(status.split(" ", 2)[1]), document.get("digit"), headers.get("x-pod", "")


class Door:
    """Where the Service can be reached now, asked again when nobody answers."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.address: tuple[str, int] | None = None

    def look(self) -> None:
        """Read the Service's local address; none while there is no such Service."""
        try:
            with urlopen(self.service, timeout=5) as reply:  # noqa: S310 -- our own API server
                annotations = json.load(reply)["metadata"].get("annotations") or {}
            host, _, port = annotations[ADDRESS].removeprefix("http://").rpartition(":")
            self.address = (host, int(port))
        except (OSError, KeyError, ValueError):
            self.address = None


class Crowd:
    """Sends visits at a steady rate and writes the answers down, from the first that was answered at all."""

    def __init__(self, door: Door, log: IO[str], rate: float) -> None:
        self.door, self.log, self.rate = door, log, rate
        self.under_way: set[asyncio.Task[None]] = set()
        self.lost = True
        self.open = False

    async def run(self, stream: Iterator[Visit]) -> None:
        """Until cancelled."""
        due = time.perf_counter()
        while True:
            if self.lost:
                await asyncio.to_thread(self.door.look)
                self.lost = False
            if self.door.address is None:
                self.lost = True
                await asyncio.sleep(0.5)
                due = time.perf_counter()
                continue
            if not self.open:
                self.open = (await send(*self.door.address, next(stream))).code != 0
                self.lost = not self.open
                await asyncio.sleep(0.2)
                due = time.perf_counter()
                continue
            self._visit(*self.door.address, next(stream))
            due = max(due + 1 / self.rate, time.perf_counter() - 1)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    def _visit(self, host: str, port: int, visit: Visit) -> None:
        task = asyncio.create_task(self._ask(host, port, visit))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _ask(self, host: str, port: int, visit: Visit) -> None:
        answer = await send(host, port, visit)
        self.lost = self.lost or answer.code == 0
        self.log.write(json.dumps(asdict(answer)) + "\n")


async def _main(service: str, log: Path, data: Path, rate: float) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with log.open("a", buffering=1) as lines:
        crowd = Crowd(Door(service), lines, rate)
        walking = asyncio.create_task(crowd.run(visits(data)))
        await asyncio.wait(
            [walking, asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        walking.cancel()
        await asyncio.wait([walking, *crowd.under_way], timeout=PATIENCE_SECONDS + 1)


def main() -> None:
    """Read the arguments and walk until SIGTERM."""
    parser = argparse.ArgumentParser(prog="visitor", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--service", required=True, help="URL of the Service object in the API server")
    parser.add_argument("--log", required=True, type=Path, help="where the answers go, one JSON line each")
    parser.add_argument("--data", required=True, type=Path, help="digits.csv.gz")
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    given = parser.parse_args()
    asyncio.run(_main(given.service, given.log, given.data, given.rate))


if __name__ == "__main__":
    main()
