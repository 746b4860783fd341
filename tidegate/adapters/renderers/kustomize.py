"""Kustomize, by its own binary in a confined child: no secrets, no network, no plug-ins, bounded in every way.

A kustomization is a program somebody else wrote (exec plug-ins, `helmGlobals.configHome`, remote
bases with arguments). What could run or fetch something is refused by name before the binary starts.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tidegate import yaml_reader
from tidegate.domain.manifests import Manifest, read_located, unique
from tidegate.errors import PluginError, Problem, Rejected, SpecError
from tidegate.settings import settings as environment

_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_REFUSED = {
    "helmCharts": "render the chart yourself and commit the result",
    "helmGlobals": "render the chart yourself and commit the result",
    "helmChartInflationGenerator": "render the chart yourself and commit the result",
    "generators": "commit what it generates",
    "transformers": "use patches, replacements and the built-in fields",
    "validators": "check the manifests in the repository's own CI",
}
_PATHS = (
    "resources",
    "bases",
    "components",
    "crds",
    "configurations",
    "openapi",
    "patches",
    "patchesStrategicMerge",
)
_REMOTE = re.compile(
    r"^[a-z0-9+.-]+::|^[a-z][a-z0-9+.-]*://|^[^/\s]+@[^/\s]+:|^(?:github|gitlab)\.com[/:]|\?ref=|\?version=",
    re.I,
)
_CPU_SECONDS, _FILE_BLOCKS, _MEMORY_KIB = 60, 2**16, 8 * 2**20
_MAX_OUTPUT = 10 * 2**20
_MAX_WORDS = 2000
_FLAGS = ("--load-restrictor", "LoadRestrictionsRootOnly")


class Settings(BaseModel):
    """`render: kustomize`, or with its own time limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: float = Field(default=25.0, gt=0, le=120)
    """Seconds one build may take."""


class Kustomize:
    """A renderer that runs `kustomize build`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def render(self, files: Mapping[str, bytes], folder: str) -> list[Manifest]:
        """All objects of the built kustomization, in its order."""
        if not any(f"{folder.strip('/')}/{name}".lstrip("/") in files for name in _NAMES):
            raise SpecError(f"{folder}: no kustomization.yaml; add one, or set render: plain")
        problems = [
            p for path in files if PurePosixPath(path).name in _NAMES for p in _refused(path, files[path])
        ]
        if problems:
            raise SpecError(problems=sorted(problems))
        output = self._run(files, folder)
        return unique(read_located(output, f"{folder} (built by kustomize)"))

    def _run(self, files: Mapping[str, bytes], folder: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="tidegate-render-") as scratch:
            tree, home, output = Path(scratch) / "tree", Path(scratch) / "home", Path(scratch) / "output"
            home.mkdir()
            _write(files, tree)
            command = [*_binary(), str(tree / folder), *_FLAGS]
            code, words = _confined(command, home, output, self._settings.timeout)
            size = output.stat().st_size
            if code != 0:
                raise Rejected(f"{folder}: kustomize failed: {_cut(words.replace(f'{tree}/', ''))}")
            if size > _MAX_OUTPUT:
                raise Rejected(
                    f"{folder}: kustomize wrote {size / 2**20:.0f} MiB; the limit is 10 MiB, split the set"
                )
            return output.read_bytes()


def _binary() -> list[str]:
    """`kustomize build`, or the same code inside kubectl."""
    named = environment().kustomize
    found = named if named is not None else shutil.which("kustomize") or shutil.which("kubectl")
    if found is None:
        raise PluginError(
            "neither kustomize nor kubectl is on PATH; install one "
            "(https://kubectl.docs.kubernetes.io/installation/kustomize/) or name it in TIDEGATE_KUSTOMIZE"
        )
    path = Path(found).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise PluginError(
            f"{path}: not an executable file; TIDEGATE_KUSTOMIZE must name the kustomize binary"
        )
    return [str(path.resolve()), "kustomize" if path.name.startswith("kubectl") else "build"]


def _refused(path: str, text: bytes) -> Iterator[Problem]:
    for document in yaml_reader.read(text, path):
        data = document.data if isinstance(document.data, dict) else {}
        for key, hint in _REFUSED.items():
            if data.get(key):
                yield Problem(path, *document.position((key,), key=True), f"{key} is not allowed here", hint)
        for at, value in _locations(data):
            if _REMOTE.search(value):
                what = f"'{value[:100]}' is not in this repository"
                yield Problem(
                    path, *document.position(at), what, "copy it in, so that it is versioned and reviewed"
                )


def _locations(data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for key in _PATHS:
        items = data.get(key)
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, str) and "\n" not in item:
                yield (key, index), item
            elif isinstance(item, dict) and isinstance(item.get("path"), str):
                yield (key, index, "path"), item["path"]


def _write(files: Mapping[str, bytes], tree: Path) -> None:
    """The files under a folder of a random name, read-only; paths that would leave it are refused."""
    for path, content in files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise SpecError(f"{path}: leaves the repository; use paths inside it")
        target = tree / pure
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(stat.S_IRUSR)


def _confined(command: list[str], home: Path, output: Path, timeout: float) -> tuple[int, str]:
    """Exit code and stderr of a child with limits, an empty home, no secrets, and proxies that lead nowhere."""
    limits = f"ulimit -t {_CPU_SECONDS}; ulimit -f {_FILE_BLOCKS}; ulimit -c 0; ulimit -v {_MEMORY_KIB} 2>/dev/null; "
    nowhere = "http://127.0.0.1:9"
    env = {
        "PATH": str(home),  # no git, no helm, nothing to call
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "TMPDIR": str(home),
        "GOMAXPROCS": "2",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "",
    }
    words = home / "stderr"
    with output.open("wb") as out, words.open("wb") as err:
        child = subprocess.Popen(
            ["/bin/sh", "-c", f'{limits}exec "$@"', "sh", *command],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Rejected(
                f"kustomize did not end within {timeout:g} s; is there a loop in the bases?"
            ) from None
        finally:
            _kill_group(child)
    return code, words.read_bytes()[: 4 * _MAX_WORDS].decode(errors="replace").strip()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # macOS answers EPERM for a group of zombies
    finally:
        child.wait()


def _cut(words: str) -> str:
    return words if len(words) <= _MAX_WORDS else f"{words[:_MAX_WORDS]}…"


def build(settings: Settings) -> Kustomize:
    """The renderer of an application."""
    return Kustomize(settings)
