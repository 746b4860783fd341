"""A private Docker engine for tests: its own socket, images and state, no network set-up; needs root and dockerd."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

BASE = "tidegate-test-base:1"
"""An image with a shell, made of this machine's own files: no registry has to be asked."""


def missing() -> str:
    """Why no private engine can be started here; empty when one can."""
    if sys.platform != "linux":
        return "a private Docker engine needs Linux"
    if shutil.which("dockerd") is None:
        return "dockerd is not installed; Debian has it in docker.io"
    return "" if os.geteuid() == 0 else "dockerd needs root"


@contextmanager
def private_engine() -> Iterator[str]:
    """The address (`unix://…`) of a running engine that has `BASE`; everything of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tgd-"))  # short: a socket's path has 108 bytes
    address = f"unix://{folder}/s"
    argv = ["dockerd", "--host", address, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    argv += ["--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false", "--storage-driver=vfs"]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        client = _wait(address, process, folder / "log")
        client.import_image_from_data(_shell(), repository=BASE.partition(":")[0], tag=BASE.partition(":")[2])
        client.close()
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> docker.APIClient:
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as knock:
                knock.connect(address.removeprefix("unix://"))
            return docker.APIClient(base_url=address, version="auto", timeout=20)
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)


def _shell() -> bytes:
    """A root file system with `/bin/sh` and the libraries it needs."""
    shell = Path("/bin/sh").resolve()
    listed = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(shell, "bin/sh")
        for library in libraries:
            tar.add(Path(library).resolve(), library.lstrip("/"))
    return content.getvalue()
