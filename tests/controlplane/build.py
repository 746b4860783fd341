"""Where the control plane's programs come from: the machine's own, or built once from the Go module beside this file.

`KUBEBUILDER_ASSETS`, the folder of the envtest convention, wins when it is set. Without it `etcd` and, for the build,
`go` must be on PATH. A build is kept outside the tree under the hash of what it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("go.mod", "go.sum", "main.go")
PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
ASSETS = "KUBEBUILDER_ASSETS"
OLDEST_GO = (1, 26)


class Missing(Exception):
    """The real control plane cannot be had here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The path of each program."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path


def find(env: Mapping[str, str] = os.environ) -> Programs:
    """The programs as they are there, nothing is built; `Missing` says what this machine lacks."""
    if folder := env.get(ASSETS):
        return _from_assets(Path(folder))
    etcd = shutil.which("etcd")
    if etcd is None:
        raise Missing("there is no etcd: install it (Debian: etcd-server), or set KUBEBUILDER_ASSETS")
    built = _cache(env) / _fingerprint()
    if not _complete(built):
        raise Missing("Kubernetes is not built yet: run `make controlplane-build`, or set KUBEBUILDER_ASSETS")
    return Programs(Path(etcd), *(built / part for part in PARTS))


def build(env: Mapping[str, str] = os.environ) -> Path:
    """The folder with the three programs; whoever comes second waits for the first one's build."""
    folder = _cache(env) / _fingerprint()
    if not _complete(folder):
        go = _go()
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _complete(folder):
                _compile(go, folder)
    return folder


def _from_assets(folder: Path) -> Programs:
    found = [folder / name for name in ("etcd", *PARTS)]
    absent = [path.name for path in found if not os.access(path, os.X_OK)]
    if absent:
        raise Missing(f"KUBEBUILDER_ASSETS is set but its folder lacks {', '.join(absent)}")
    return Programs(*found)


def _cache(env: Mapping[str, str]) -> Path:
    home = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "tidegate" / "controlplane"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((HERE / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _complete(folder: Path) -> bool:
    return all(os.access(folder / part, os.X_OK) for part in PARTS)


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise Missing("there is no go to build Kubernetes with: install Go 1.26, or set KUBEBUILDER_ASSETS")
    said = subprocess.run(
        [go, "env", "GOVERSION"], cwd="/", capture_output=True, text=True, check=False
    ).stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < OLDEST_GO:
        raise Missing(
            f"Go is {said.strip() or 'broken'}, Kubernetes needs 1.26: install it, or set KUBEBUILDER_ASSETS"
        )
    return go


def _compile(go: str, folder: Path) -> None:
    """One program under three names: they share nearly all of their code."""
    print("building the Kubernetes control plane (once, some minutes)", file=sys.stderr, flush=True)
    fresh = folder / f"controlplane.{os.getpid()}"
    argv = [go, "build", "-trimpath", "-ldflags", _stamps(), "-o", str(fresh), "."]
    done = subprocess.run(
        argv, cwd=HERE, env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True
    )
    if done.returncode:
        fresh.unlink(missing_ok=True)
        raise Missing(f"the control plane does not build: {done.stderr.strip()[-2000:]}")
    fresh.rename(folder / "controlplane")
    for part in PARTS:
        (folder / part).unlink(missing_ok=True)
        (folder / part).symlink_to("controlplane")


def _stamps() -> str:
    """Linker flags: no symbols, and the version that the server tells, which Go does not know by itself."""
    found = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)", (HERE / "go.mod").read_text())
    assert found is not None, "go.mod names the version of k8s.io/kubernetes"
    values = dict(zip(("gitVersion", "gitMajor", "gitMinor"), found.groups(), strict=True))
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s -w", *(f"-X {p}.{k}={v}" for p in packages for k, v in values.items())])


if __name__ == "__main__":
    if ASSETS not in os.environ:
        try:
            build()
        except Missing as why:
            print(f"no real control plane: {why}", file=sys.stderr)
