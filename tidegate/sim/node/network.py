"""Addresses for pods without root and without namespaces.

On Linux all of 127.0.0.0/8 answers, so each pod gets an address of its own (`127.x.y.z`) and keeps its true ports:
`podIP:containerPort` is right everywhere, and Prometheus needs no relabelling. macOS answers on 127.0.0.1 only: there
all pods share it, each container port gets a free port, and annotations on the pod tell the real number
(`tidegate.dev/port-<containerPort>` for the endpoints, `prometheus.io/port` for Prometheus's usual relabelling).

A process cannot be made to bind to its pod's address; it is told: `HOST` and `POD_IP` are the address, `PORT` the
first container port as it must be bound, `PORT_<containerPort>` each of them. Applications read `HOST` and `PORT`.
"""

from __future__ import annotations

import random
import socket
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.sim.client import Object
from tidegate.sim.controllers.endpointslice import PORT_ANNOTATION

SHARED = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one pod listens: its IP, and the real port of each container port that was remapped."""

    ip: str
    ports: Mapping[int, int] = field(default_factory=dict)

    def port(self, container_port: int) -> int:
        return self.ports.get(container_port, container_port)

    def annotations(self, first: int | None) -> dict[str, str]:
        """What the pod must tell others about remapped ports; nothing on Linux."""
        told = {f"{PORT_ANNOTATION}{port}": str(real) for port, real in self.ports.items()}
        if told and first is not None:
            told["prometheus.io/port"] = str(self.port(first))
        return told


def container_ports(pod: Object) -> list[int]:
    return [
        int(port["containerPort"])
        for container in pod["spec"].get("containers") or []
        for port in container.get("ports") or []
        if (port.get("protocol") or "TCP") == "TCP"
    ]


class PodNetwork:
    """Allots addresses. `own_addresses` None: where the system can (Linux)."""

    def __init__(self, home: Path, own_addresses: bool | None = None) -> None:
        self.own_addresses = sys.platform == "linux" if own_addresses is None else own_addresses
        # Two clusters on one machine should not meet: the second octet comes from the home folder's name, and a
        # port somebody already listens on is never given out.
        self._octet = 32 + zlib.crc32(str(home.resolve()).encode()) % 90
        self._next = random.randrange(1 << 8, 1 << 15)  # noqa: S311 only spread
        self._used: dict[str, Address] = {}

    def keep(self, uid: str, address: Address) -> None:
        """Takes over what an earlier agent allotted."""
        self._used[uid] = address

    def release(self, uid: str) -> None:
        self._used.pop(uid, None)

    def allot(self, uid: str, ports: Sequence[int]) -> Address:
        if uid not in self._used:
            self._used[uid] = self._own(ports) if self.own_addresses else self._shared(ports)
        return self._used[uid]

    def _own(self, ports: Sequence[int]) -> Address:
        taken = {address.ip for address in self._used.values()}
        for _ in range(1 << 16):
            self._next = (self._next + 1) % (1 << 16)
            high, low = divmod(self._next, 256)
            ip = f"127.{self._octet}.{high}.{low}"
            if 0 < low < 255 and ip not in taken and all(is_free(ip, port) for port in ports):
                return Address(ip)
        raise OSError("no free loopback address is left for the pod")

    def _shared(self, ports: Iterable[int]) -> Address:
        taken = {real for address in self._used.values() for real in address.ports.values()}
        mapping: dict[int, int] = {}
        for port in ports:
            real = free_port(SHARED)
            while real in taken or real in mapping.values():
                real = free_port(SHARED)
            mapping[port] = real
        return Address(SHARED, mapping)


def is_free(ip: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError:
            return False
    return True


def free_port(ip: str) -> int:
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])
