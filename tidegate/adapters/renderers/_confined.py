"""A rendering tool as a confined child: its version, its files in a folder of their own, its end within the limits.

Nothing of ours goes in but the files: an empty environment and home, a PATH without programs. Output, words, time,
CPU, memory, processes and files are bounded; whoever crosses a bound is killed with everything it started.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cachetools import LRUCache

from tidegate.adapters.renderers._cage import Limits, cage
from tidegate.errors import PluginError, Rejected, SpecError

MAX_WORDS = 2000
"""Characters of what a tool says that reach people."""
_TICK, _LONGEST_TICK = 0.05, 0.25
_GONE = 0.5
"""Seconds that the rest of a killed group may take to be gone."""
_NO_MEMORY = re.compile(
    r"out of memory|cannot allocate memory|failed to reserve|failed to create new OS thread"
)
_KILLED = {sign for number in (signal.SIGXCPU, signal.SIGKILL) for sign in (-number, 128 + number)}
"""Exit codes of who used too much of the processor; `unshare` tells a signal as shells do."""
_MEMORY = "/dev/shm"  # noqa: S108 - each run has a folder of a random name there, for its user alone
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program on this machine, as it is now: another build of it is another tool."""

    name: str
    path: str
    changed: int
    """When the file was last changed, in nanoseconds."""

    @property
    def key(self) -> str:
        """Equal keys are the same build; cheaper to ask for than the version."""
        return f"{self.path} {self.changed}"

    @property
    def version(self) -> str:
        """What it says it is, like `v5.8.1`; asked once per build and process. `PluginError` when it does not run."""
        return _version(self)


def find(name: str, named: Path | None, setting: str, hint: str, *others: str) -> Tool:
    """The tool that a setting names, or the first of its names on PATH. `PluginError` says how to get it."""
    found = str(named) if named else next(filter(None, map(shutil.which, (name, *others))), None)
    if found is None:
        missing = (
            f"neither {name} nor {' nor '.join(others)} is on PATH" if others else f"{name} is not on PATH"
        )
        raise PluginError(f"{missing}; {hint} or name it in {setting}")
    path = Path(found).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise PluginError(f"{path}: not an executable file; {setting} must name the {name} binary")
    real = path.resolve()
    return Tool(name, str(real), real.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _version(tool: Tool) -> str:
    kubectl = Path(tool.path).name.startswith("kubectl")
    words = (
        ["version", "--client"] if kubectl else ["version", "--short"] if tool.name == "helm" else ["version"]
    )
    with scratch({}) as space:
        ended = run(tool, words, space, timeout=20)
    found: list[str] = re.findall(r"v\d+\.\d+[\w.+-]*", ended.output.decode(errors="replace"))
    if ended.code != 0 or not found:
        raise PluginError(
            f"{tool.path}: does not tell its version ({space.clean(ended.words) or f'exit {ended.code}'});"
            f" name the {tool.name} binary itself, not a wrapper"
        )
    return found[-1]  # kubectl tells its own first, then its kustomize's


# --- files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder of a random name for one run: the input, and an empty home."""

    root: Path

    @property
    def tree(self) -> Path:
        return self.root / "tree"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def clean(self, words: str) -> str:
        """What a tool said, without our paths, in one line, and not too long."""
        for prefix in (self.root.resolve(), self.root):
            words = words.replace(f"{prefix}/tree/", "").replace(f"{prefix}/", "")
        words = "; ".join(line.strip().removeprefix("Error: ") for line in words.splitlines() if line.strip())
        return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"


@contextmanager
def scratch(files: Mapping[str, bytes]) -> Iterator[Scratch]:
    """The files, read-only, in a folder that is gone afterwards. `SpecError` for paths that would leave it."""
    memory = _memory_folder(files)
    with tempfile.TemporaryDirectory(
        prefix="tidegate-render-", dir=memory, ignore_cleanup_errors=True
    ) as name:
        space = Scratch(Path(name))
        space.home.mkdir()
        space.tree.mkdir()
        root, made = str(space.tree), {""}
        for path, content in files.items():
            inner = inside(path)
            folder = inner.rpartition("/")[0]
            if folder not in made:
                os.makedirs(f"{root}/{folder}", exist_ok=True)
                made.add(folder)
            file = os.open(f"{root}/{inner}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR)
            with open(file, "wb", buffering=0) as stream:
                stream.write(content)
        yield space


def _memory_folder(files: Mapping[str, bytes]) -> str | None:
    """Linux' folder in memory where it has room to spare: four times as fast, and nothing reaches a disk."""
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK | os.X_OK):
        return None
    found = os.statvfs(_MEMORY)
    needed = sum(map(len, files.values())) + 4096 * len(files) + 2 * Limits().file
    return _MEMORY if found.f_bavail * found.f_frsize > 2 * needed else None


def inside(path: str) -> str:
    """The path, when it stays in the repository; else `SpecError`."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise SpecError(f"{path}: leaves the repository; use paths inside it")
    return path


# --- remembering --------------------------------------------------------------------------------------------


class Outputs:
    """What tools wrote last, by all that it depends on. One commit to a repository of many changes few of them."""

    def __init__(self, size: int) -> None:
        self._kept: LRUCache[str, bytes] = LRUCache(size, len)
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The output, unless there was too much since."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: str, output: bytes) -> bytes:
        """Keep an output; returns it. What alone is too large is not kept."""
        with self._lock, suppress(ValueError):
            self._kept[key] = output
        return output


def digest(tool: Tool, words: Sequence[str], *trees: Mapping[str, bytes]) -> str:
    """Equal for equal builds of a tool, arguments and files."""
    made = sha256(repr((tool.key, list(words), [len(tree) for tree in trees])).encode())
    for tree in trees:
        for path in sorted(tree):
            made.update(f"\0{len(path)} {len(tree[path])} {path}".encode(errors="surrogateescape"))
            made.update(tree[path])
    return made.hexdigest()


outputs = Outputs(16 * 2**20)


# --- running ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended by itself, and what it left."""

    code: int
    output: bytes
    words: str
    """The beginning of its standard error."""


def run(
    tool: Tool,
    arguments: Sequence[str],
    space: Scratch,
    *,
    timeout: float,
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a tool in its cage. `Rejected` says which limit it crossed; `PluginError` when it does not start.

    When this returns or raises nothing of it is running; without namespaces a process that left the session may be.
    """
    bounds = limits or Limits()
    output, words = space.root / "output", space.root / "words"
    over = threading.Event()
    try:
        with output.open("wb") as out, words.open("wb") as err:
            try:
                child = cage().start(
                    [tool.path, *arguments],
                    readable=(Path(tool.path), space.root),
                    limits=bounds,
                    cwd=space.home,
                    env=_environment(space) | dict(env or {}),
                    stdout=out,
                    stderr=err,
                    over=over,
                )
            except OSError as error:
                raise PluginError(f"{tool.path}: cannot be started: {error.strerror}") from error
            try:
                stopped = _attend(child, timeout, bounds)
            finally:
                _kill(child)
    finally:
        over.set()
    text = _beginning(words)
    crossed = stopped or _crossed(child.returncode, text, output.stat().st_size, bounds)
    if crossed:
        raise Rejected(f"{tool.name} {crossed}")
    return Ended(child.returncode, output.read_bytes(), text)


def _environment(space: Scratch) -> dict[str, str]:
    home = str(space.home)
    return {
        "PATH": home,  # no git, no helm, nothing to call
        "HOME": home,
        "TMPDIR": home,
        "XDG_CONFIG_HOME": home,
        "XDG_CACHE_HOME": home,
        "XDG_DATA_HOME": home,
        "KUBECONFIG": os.devnull,
        "GOMAXPROCS": "2",
        "HTTP_PROXY": _NOWHERE,
        "HTTPS_PROXY": _NOWHERE,
        "ALL_PROXY": _NOWHERE,
        "NO_PROXY": "",
    }


def _attend(child: subprocess.Popen[bytes], timeout: float, limits: Limits) -> str | None:
    """Wait for its end; what it did wrong, if we must end it."""
    deadline, tick = time.monotonic() + timeout, _TICK
    with _ending(child) as ended:
        while not ended(min(tick, max(0.0, deadline - time.monotonic()))):
            tick = min(1.5 * tick, _LONGEST_TICK)  # looking at all processes has its price
            if time.monotonic() >= deadline:
                return f"did not end within {timeout:g} s; is there a loop in what it builds?"
            processes, resident = _used(child.pid)
            if processes > limits.processes:
                return f"started more than {limits.processes} processes; a render needs one"
            if resident > limits.resident:
                return _memory(limits.resident)
    return None


@contextmanager
def _ending(child: subprocess.Popen[bytes]) -> Iterator[Callable[[float], bool]]:
    """A function that waits some seconds and says whether the child has ended; at once where the kernel tells."""
    try:
        handle = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # not Linux, or older than 5.3
        yield lambda seconds: _ended(child, seconds)
        return
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        yield lambda seconds: bool(poll.poll(1000 * seconds))
    finally:
        os.close(handle)


def _ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _used(session: int) -> tuple[int, int]:
    """Processes of a session, and the bytes of memory they have; (0, 0) where there is no /proc."""
    processes = resident = 0
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        found = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return 0, 0
    for pid in found:
        try:
            if os.getsid(pid) == session:
                processes += 1
                resident += page * int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
    return processes, resident


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End it and its group, and see them go; with namespaces whatever left the group ends too."""
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + _GONE
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(0.001)


def _crossed(code: int, words: str, size: int, limits: Limits) -> str | None:
    if size >= limits.file:
        return f"wrote more than {limits.file / 2**20:g} MiB; split the set"
    if code in _KILLED or words.startswith("unshare: sigprocmask"):  # 2.38 chokes on a child that was killed
        return f"used more than {limits.cpu} s of CPU, or was killed by somebody else"
    if code != 0 and _NO_MEMORY.search(words):
        return _memory(limits.memory)
    return None


def _memory(limit: int) -> str:
    return f"needs more than {limit / 2**30:.2g} GiB of memory; split the set"


def _beginning(words: Path) -> str:
    with words.open("rb") as stream:
        return stream.read(4 * MAX_WORDS).decode(errors="replace").strip()
