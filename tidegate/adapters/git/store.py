"""One bare mirror on disk: running git in it, reading its objects, creating, cleaning and renewing it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tidegate.adapters.git import access
from tidegate.adapters.git.address import Address
from tidegate.adapters.git.failures import Corrupt, DiskFull, failure
from tidegate.adapters.git.locks import locked, remove_leftovers, remove_orphans, try_exclusive
from tidegate.errors import OutsideError, Rejected, Unreachable
from tidegate.settings import Settings

if TYPE_CHECKING:
    from tidegate.adapters.git.command import Command, Output

log = logging.getLogger(__name__)

MAX_OBJECT = 100 * 1024 * 1024
"""More is not read into memory, and does not belong in Git."""
MAX_OUTPUT = 256 * 1024 * 1024
"""Bytes of one answer of git; the largest are blobs in bulk."""
PACKS_BEFORE_REPACKING = 50
"""Every fetch leaves a pack; lookups get slower with their number."""


RENEWALS_APART = 60.0
PROMISED = ("-c", "remote.origin.promisor=true", "-c", "remote.origin.partialclonefilter=blob:none")
"""Only fetching and repacking are told that blobs may be missing. For everything else a missing blob is missing:
git would fetch it alone, and with `GIT_NO_LAZY_FETCH` die."""


class Object(NamedTuple):
    """A Git object as it is stored."""

    id: str
    type: str
    data: bytes


class Store:
    """The mirror's files. Safe to share between threads: each gets its own GitPython `Repo`."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = address
        self.timeout = settings.git_timeout
        self.folder = settings.home / "mirrors"
        self.path = self.folder / address.key
        self._settings = settings
        self._hidden = access.secrets(address, settings)
        self._local = threading.local()
        self._calls = 0
        self._renewed = -RENEWALS_APART

    # -- running git -----------------------------------------------------------------------------------------
    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout: float | None = None,
        ok: Sequence[int] = (0,),
        limit: int = MAX_OUTPUT,
    ) -> Output:
        """Runs git in the mirror (which need not exist for `ls-remote`); other exit codes than `ok` raise."""
        done = self.attempt(*words, stdin=stdin, timeout=timeout, limit=limit)
        if done.code not in ok:
            raise failure(self.address.url, done.err)
        return done

    def attempt(
        self, *words: str, stdin: bytes = b"", timeout: float | None = None, limit: int = MAX_OUTPUT
    ) -> Output:
        """Like `run`, but every exit code is an answer. Its `err` is scrubbed of secrets."""
        try:
            done = self._driver().run(words, stdin, timeout or self.timeout, limit)
        except (Unreachable, Rejected) as error:
            raise type(error)(f"{self.address.url}: {error}") from None
        return done.__class__(done.code, done.out, access.scrub(done.err, self._hidden))

    def _driver(self) -> Command:
        driver: Command | None = getattr(self._local, "driver", None)
        if driver is None:
            try:
                from tidegate.adapters.git.command import Command
            except ImportError as error:  # GitPython looks for git when it is imported
                raise OutsideError("git: not installed; install git 2.31 or newer") from error
            driver = self._local.driver = Command()
            driver.update_environment(**self._environment())
        return driver

    def _environment(self) -> dict[str, str]:
        self._make_folder()
        return access.environment(self.address, self._settings, self.path)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DiskFull(
                f"{self.folder}: cannot be created ({error.strerror}); check TIDEGATE_HOME"
            ) from error

    # -- objects ---------------------------------------------------------------------------------------------
    def object(self, name: str) -> Object | None:
        """An object by id or full ref name, or `None`: from a `cat-file --batch` that stays open (0.1 ms).

        `Rejected` for one that is too large to hold in memory, `Corrupt` when git cannot open the mirror.
        """
        for last_try in (False, True):
            reader = self._reader()
            if reader is None:
                return None
            try:
                return reader.read(name)
            except BaseException as error:
                self.forget()  # otherwise the next answer could belong to this question
                if not isinstance(error, OSError):
                    raise
                if last_try:
                    raise Corrupt(f"{self.address.url}: mirror is damaged (it cannot be read)") from error
        return None

    def _reader(self) -> Reader | None:
        try:
            mark = (os.getpid(), self.path.stat().st_ino)  # the mirror may be renewed by another process
        except FileNotFoundError:
            self.forget()
            return None
        if getattr(self._local, "mark", None) != mark:
            self.forget()
            self._local.reader, self._local.mark = Reader(self._driver()), mark
        return self._local.reader  # type: ignore[no-any-return]

    def forget(self) -> None:
        """Ends this thread's open `cat-file`."""
        reader, mark = getattr(self._local, "reader", None), getattr(self._local, "mark", None)
        self._local.mark = self._local.reader = None
        if reader is not None and mark is not None and mark[0] == os.getpid():
            reader.close()

    def ref(self, name: str) -> str | None:
        """Where a local ref points, or `None`."""
        found = self.object(name)
        return found.id if found else None

    def kept(self) -> dict[str, str]:
        """Branches with commits of our own, and the newest of each."""
        return _refs(self.path, "refs/heads/")

    # -- life of the mirror ----------------------------------------------------------------------------------
    @property
    def _lock(self) -> Path:
        return self.folder / f"{self.address.key}.lock"

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Writers hold this: nobody renews or cleans the mirror meanwhile. Creates the mirror first."""
        self._make_folder()
        if not self.exists:
            with locked(self._lock):
                if not self.exists:
                    self._create(self.path)
        with locked(self._lock, shared=True):
            yield

    def branch_lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """One writer per branch and machine; other machines are kept apart by the expected old id."""
        import hashlib

        self._make_folder()
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return locked(self.folder / f"{self.address.key}.{digest}.lock", timeout=4 * self.timeout)

    def _aside(self) -> Path:
        """A place beside the mirrors, named after its owner, so that it can be removed when that is dead."""
        return self.folder / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"

    def _create(self, path: Path) -> None:
        """Built aside and renamed, so a half-made mirror is never seen."""
        draft = self._aside()
        try:
            self.run("init", "--quiet", "--bare", "--template=", "--", str(draft))
            with (draft / "config").open("a") as config:
                config.write(_remote(self.address.url))
            draft.rename(path)
        except OSError as error:
            raise DiskFull(f"{self.folder}: cannot be written ({error.strerror}); free space") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @property
    def was_renewed(self) -> bool:
        """A moment ago: doing it again would not help."""
        return time.monotonic() - self._renewed < RENEWALS_APART

    @property
    def exists(self) -> bool:
        """Whether there is a mirror on disk."""
        return (self.path / "HEAD").exists()

    def renew(self, refill: Callable[[Sequence[str]], Any]) -> None:
        """Drops the damaged mirror and fetches the branches it had again.

        Commits that were kept while the remote was down are carried over as far as they can still be read.
        """
        log.warning("mirror of %s is damaged: cloning it again", self.address.url)
        old = self._aside()
        branches = tuple(_refs(self.path, "refs/remotes/origin/"))
        try:
            with locked(self._lock):
                self.forget()
                with contextlib.suppress(FileNotFoundError):
                    self.path.rename(old)
                self._create(self.path)
            if branches:
                refill(branches)
            self._carry_over(old)
        except BaseException:
            with contextlib.suppress(OSError):  # better a damaged mirror than none while the remote is down
                shutil.rmtree(self.path, ignore_errors=True)
                old.rename(self.path)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
        self._renewed = time.monotonic()

    def _carry_over(self, old: Path) -> None:
        pending = _refs(old, "refs/heads/")
        if not pending:
            return
        alternates = self.path / "objects" / "info" / "alternates"
        alternates.write_text(f"{old / 'objects'}\n")
        for name, sha in pending.items():
            self.attempt("update-ref", f"refs/heads/{name}", sha)
        self.attempt(*PROMISED, "repack", "-q", "-a", "-d")
        alternates.unlink()
        for name, sha in pending.items():
            if self.attempt("rev-list", "--objects", "--quiet", sha, "--not", "--remotes=origin").code:
                log.error("mirror of %s: the kept commit %s on %s is lost", self.address.url, sha, name)
                self.attempt("update-ref", "-d", f"refs/heads/{name}")

    def clean_sometimes(self) -> None:
        """Once per process and mirror, and then with every hundredth call."""
        self._calls += 1
        if self._calls % 100 == 1:
            self.clean()

    def clean(self) -> None:
        """Removes what killed processes left behind, and repacks when many packs have come together."""
        if not self.exists:
            return
        with try_exclusive(self._lock) as mine:
            remove_orphans(self.folder)
            for path in remove_leftovers(self.path) if mine else ():
                log.warning("mirror of %s: removed %s, left by a killed process", self.address.url, path.name)
        if len(list((self.path / "objects" / "pack").glob("*.pack"))) > PACKS_BEFORE_REPACKING:
            self._repack()

    def _repack(self) -> None:
        try:
            self.run(*PROMISED, "gc", "--quiet", "--prune=2.weeks.ago", timeout=10 * self.timeout)
        except OutsideError as error:
            log.warning("mirror of %s: could not be repacked: %s", self.address.url, error)

    def make_room(self) -> None:
        """After a full disk: the half-written packs go at once, or the disk would stay full."""
        with try_exclusive(self._lock) as mine:
            if mine:
                remove_leftovers(self.path, older_than=0.0)


class Reader:
    """One `git cat-file --batch`, for one thread."""

    def __init__(self, driver: Command) -> None:
        self._process = driver.execute(["git", "cat-file", "--batch"], subprocess.PIPE, as_process=True)
        assert self._process.proc is not None
        self.close = weakref.finalize(self, _end, self._process.proc, os.getpid())
        """Ends the process; at the latest when the thread ends."""

    def read(self, name: str) -> Object | None:
        """The object, or `None`; `OSError` when the process has died."""
        if "\n" in name or not name:
            raise ValueError(f"object name {name!r}")
        self._process.stdin.write(name.encode(errors="surrogateescape") + b"\n")
        self._process.stdin.flush()
        words = self._process.stdout.readline().decode(errors="replace").split()
        if not words:
            raise BrokenPipeError("cat-file has ended")
        if words[-1] in ("missing", "ambiguous") or len(words) != 3:
            return None
        if int(words[2]) > MAX_OBJECT:
            raise Rejected(f"object {words[0]} has {words[2]} bytes, more than {MAX_OBJECT}")
        data = self._process.stdout.read(int(words[2]) + 1)
        if len(data) != int(words[2]) + 1:
            raise BrokenPipeError("cat-file has ended")
        return Object(words[0], words[1], data[:-1])


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a fork inherited it
        return
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.terminate()
    process.wait()


def _remote(url: str) -> str:
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'


def _refs(mirror: Path, prefix: str) -> dict[str, str]:
    """Refs read as files (name without the prefix → id): no process, and git may no longer be able to."""
    found = {}
    with contextlib.suppress(OSError):
        for line in (mirror / "packed-refs").read_text(errors="replace").splitlines():
            sha, _, name = line.partition(" ")
            if len(sha) == 40 and name.startswith(prefix):
                found[name.removeprefix(prefix)] = sha
    for path in sorted((mirror / prefix).rglob("*")):
        if path.is_file() and not path.name.endswith(".lock"):
            found[path.relative_to(mirror / prefix).as_posix()] = path.read_text(errors="replace").strip()
    return found
