"""A cage for a child that reads what strangers wrote: no network, no other process, nothing of the machine's files.

On Linux the thread that starts the child gives up these rights itself, for good, and the child inherits that:

- Landlock (Linux 5.13): only named folders can be read, nothing can be written; from 6.7 on no TCP either.
- Namespaces of its own for network, processes and IPC: directly where we may (root), else by `unshare --user`. Its
  first process takes all others along when it ends, whatever session they fled to.
- `setpriv --pdeathsig`: it ends when we are killed.

What a machine allows is tried once per process. Where none of it is there (macOS, some containers) what is left is an
empty environment, an empty home, limits, proxies that lead nowhere, and a PATH without programs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

_LINUX = sys.platform == "linux"
_NAMESPACES = 0x40000000 | 0x20000000 | 0x08000000  # CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWIPC
_UNSHARE = ("--user", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--")
_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}  # by Landlock's version
_TCP, _SCOPES = 0b11, 0b11
_READ_FILE, _READ_FOLDER = 0b101, 0b1101  # execute and read; and list
_WRITE_DEVICE = 0b110
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use; of each process, but for `processes` and `resident`."""

    cpu: int = 120
    """Seconds."""
    memory: int = 4 * 2**30
    """Bytes of address space. Go programs reserve more than they use: helm does not start below 2 GiB."""
    resident: int = 2 * 2**30
    """Bytes of memory that all processes have together."""
    file: int = 10 * 2**20
    """Bytes of the output, and of any other file."""
    files: int = 256
    """Open files."""
    processes: int = 64


@dataclass(frozen=True, slots=True)
class Cage:
    """What this machine lets us take away from a child."""

    landlock: int
    """Landlock's version; 0 without."""
    namespaces: bool
    """Whether our own thread may enter namespaces."""
    unshare: str | None
    """The program that makes namespaces for who is not root."""
    setpriv: str | None
    """The program that ties the child's life to ours."""

    @property
    def offline(self) -> bool:
        """Whether the child has no network at all."""
        return self.namespaces or self.unshare is not None

    def start(
        self,
        command: Sequence[str],
        *,
        readable: Iterable[Path],
        limits: Limits,
        cwd: Path,
        env: Mapping[str, str],
        stdout: BinaryIO,
        stderr: BinaryIO,
        over: threading.Event,
    ) -> subprocess.Popen[bytes]:
        """The child, started by a thread that lives until `over` is set. `OSError` when it cannot be started."""
        argv = self._argv(command, limits)
        readable = tuple(readable)
        begun = threading.Event()
        made: list[subprocess.Popen[bytes] | OSError] = []

        def live() -> None:
            try:
                self._enter(readable)
                made.append(
                    subprocess.Popen(
                        argv,
                        cwd=cwd,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=stdout,
                        stderr=stderr,
                        start_new_session=True,
                    )
                )
            except OSError as error:
                made.append(error)
            finally:
                begun.set()
            over.wait()  # a child tied to us is tied to the thread that made it

        threading.Thread(target=live, name="render", daemon=True).start()
        begun.wait()
        if not made:
            raise OSError(errno.EAGAIN, "cannot be started")
        child = made[0]
        if isinstance(child, OSError):
            raise child
        if _LINUX and not self.unshare:
            _limit(child.pid, limits)
        return child

    def _argv(self, command: Sequence[str], limits: Limits) -> list[str]:
        if not _LINUX:
            blocks = limits.file // 512
            words = f"ulimit -t {limits.cpu}; ulimit -f {blocks}; ulimit -c 0; ulimit -n {limits.files}; "
            return ["/bin/sh", "-c", f'{words}exec "$@"', "sh", *command]
        tied = [self.setpriv, "--pdeathsig", "KILL", "--"] if self.setpriv else []
        if not self.unshare:
            return [*tied, *command]
        # inside, because only there the number of processes is counted for this child alone
        inside = [
            "/usr/bin/prlimit",
            f"--cpu={limits.cpu}",
            f"--as={limits.memory}",
            f"--fsize={limits.file}",
            f"--nofile={limits.files}",
            f"--nproc={4 * limits.processes}",  # threads count
            "--core=0",
            "--",
        ]
        return [*tied, self.unshare, *_UNSHARE, *inside, *command]

    def _enter(self, readable: Iterable[Path]) -> None:
        """Give up, in this thread, what the child must not have."""
        if self.landlock:
            _restrict(self.landlock, readable)
        if self.namespaces:
            _call("unshare", _NAMESPACES)


@cache
def cage() -> Cage:
    """The best cage there is here."""
    if not _LINUX:
        return Cage(0, namespaces=False, unshare=None, setpriv=None)
    version = _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    namespaces = _works(lambda: _call("unshare", _NAMESPACES))
    unshare = None if namespaces or not Path("/usr/bin/prlimit").exists() else shutil.which("unshare")
    if unshare is not None and not _runs(unshare, *_UNSHARE, "/usr/bin/prlimit", "--core=0", "true"):
        unshare = None
    setpriv = shutil.which("setpriv")
    if setpriv is not None and not _runs(setpriv, "--pdeathsig", "KILL", "--", "true"):
        setpriv = None  # busybox has one that cannot
    landlock = max(version, 0)
    if landlock and not _works(lambda: _restrict(landlock, ())):
        landlock = 0
    return Cage(landlock, namespaces, unshare, setpriv)


def _works(action: Callable[[], None]) -> bool:
    """Whether a thread that is thrown away afterwards can do it."""
    done: list[bool] = []

    def attempt() -> None:
        try:
            action()
        except OSError:
            return
        done.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(done)


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=5, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _limit(pid: int, limits: Limits) -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, limits.cpu),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_NOFILE, limits.files),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.prlimit(pid, kind, (value, value))
        except (ProcessLookupError, PermissionError):
            return  # it has ended


# --- Linux's own calls --------------------------------------------------------------------------------------


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(*words: object) -> int:
    result: int = _libc().syscall(*words)
    return result


def _call(name: str, *words: object) -> None:
    _checked(getattr(_libc(), name)(*words))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _restrict(version: int, readable: Iterable[Path]) -> None:
    """This thread, and what it starts, reads only `readable` and the system's programs, and writes nothing.

    See the kernel's `Documentation/userspace-api/landlock.rst`; `Limits` cannot do this, and mounts need root.
    """
    rights = _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]
    words = [rights, *([_TCP] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = struct.pack(f"={len(words)}Q", *words)
    rules = _checked(_syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path in (*_SYSTEM, *map(str, readable)):
            _allow(rules, path, (_READ_FOLDER if os.path.isdir(path) else _READ_FILE) & rights)
        for path in _DEVICES:
            _allow(rules, path, _WRITE_DEVICE & rights)
        _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
        _checked(_syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _checked(_syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, place), 0))
    finally:
        os.close(place)
