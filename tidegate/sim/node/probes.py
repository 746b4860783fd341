"""Probes: one attempt against one container, over HTTP, TCP or a command."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.sim.node.network import Address

RunCommand = Callable[[Sequence[str], float], Any]
"""(words, timeout) → awaitable of (exit code, output) inside the container."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to ask, and how often; defaults are the API server's."""

    action: Mapping[str, Any]
    delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, spec: Mapping[str, Any] | None) -> Probe | None:
        if not spec:
            return None
        return cls(
            spec,
            float(spec.get("initialDelaySeconds") or 0),
            float(spec.get("periodSeconds") or 10),
            float(spec.get("timeoutSeconds") or 1),
            int(spec.get("successThreshold") or 1),
            int(spec.get("failureThreshold") or 3),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """Whether the container answered well, and kubelet's words if not."""

    ok: bool
    message: str = ""


async def attempt(probe: Probe, container: Mapping[str, Any], address: Address, run: RunCommand) -> Result:
    """One try, within the probe's timeout; never raises."""
    try:
        return await asyncio.wait_for(
            _attempt(probe.action, container, address, run, probe.timeout), probe.timeout
        )
    except TimeoutError:
        return Result(False, f"no answer within {probe.timeout:g} s")
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        return Result(False, str(error) or type(error).__name__)


async def _attempt(
    action: Mapping[str, Any], container: Mapping[str, Any], address: Address, run: RunCommand, within: float
) -> Result:
    if "httpGet" in action:
        return await _http(action["httpGet"], container, address)
    if "exec" in action:
        code, output = await run(action["exec"].get("command") or [], within)
        return Result(code == 0, output.strip()[-500:] or f"command ended with {code}")
    ask = action.get("tcpSocket") or action.get("grpc") or {}
    _, writer = await asyncio.open_connection(
        ask.get("host") or address.ip, port_number(ask["port"], container, address)
    )
    writer.close()
    return Result(True)


async def _http(ask: Mapping[str, Any], container: Mapping[str, Any], address: Address) -> Result:
    host = ask.get("host") or address.ip
    port = port_number(ask["port"], container, address)
    path = ask.get("path") or "/"
    url = f"{(ask.get('scheme') or 'HTTP').lower()}://{host}:{port}{path}"
    tls = _unverified() if url.startswith("https") else None
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        headers = {
            "Host": f"{host}:{port}",
            "User-Agent": "kube-probe/1.36",
            "Accept": "*/*",
            "Connection": "close",
        }
        headers |= {h["name"]: h["value"] for h in ask.get("httpHeaders") or []}
        lines = "".join(f"{k}: {_one_line(v)}\r\n" for k, v in headers.items())
        writer.write(f"GET {_one_line(path)} HTTP/1.1\r\n{lines}\r\n".encode())
        await writer.drain()
        status = await reader.readline()
        code = int(status.split()[1]) if status.startswith(b"HTTP/") and len(status.split()) > 1 else 0
    finally:
        writer.close()
    if 200 <= code < 400:
        return Result(True)
    return Result(
        False, f"HTTP probe failed with statuscode: {code}" if code else f"{url}: not an HTTP answer"
    )


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


def _unverified() -> ssl.SSLContext:
    """Kubelet does not verify either."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def port_number(port: int | str, container: Mapping[str, Any], address: Address) -> int:
    """A probe's port, by number or by the container port's name, as it is reached."""
    if isinstance(port, str) and not port.isdigit():
        for declared in container.get("ports") or []:
            if declared.get("name") == port:
                return address.port(int(declared["containerPort"]))
        raise ValueError(f"the container has no port named {port!r}")
    return address.port(int(port))
