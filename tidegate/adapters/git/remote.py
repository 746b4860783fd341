"""The other side: asking for its tips, fetching what changed, pushing with the expected old id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from tidegate.adapters.git.address import branch_ref, full_ref
from tidegate.adapters.git.failures import Moved, failure, short
from tidegate.adapters.git.locks import locked
from tidegate.adapters.git.store import PROMISED, Store
from tidegate.errors import NotFound, Rejected, SpecError, Unreachable

ASKING_SECONDS = 12.0
"""`ls-remote` moves a few kilobytes: a remote that takes longer is down."""
FIRST_FETCH_FACTOR = 10
"""The first fetch of a large repository may take this many times the usual limit, as long as bytes arrive."""

_NOT_SENT = re.compile(
    r"Could not resolve host|Failed to connect|Couldn't connect|Connection refused|ssh: connect"
)
_SERVER_BUSY = re.compile(
    r"failed to update ref|cannot lock ref|incorrect old value|reference already exists"
)


class Push(StrEnum):
    """What came of a push. Everything else is raised."""

    Landed = "landed"
    Behind = "behind"
    """The remote's branch is not where we expected it."""
    Busy = "busy"
    """The server could not lock its ref: another push, or a lock file left behind."""
    Unclear = "unclear"
    """The connection broke after we began to send."""


class Remote:
    """`origin` of one mirror."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tips(self, *refs: str) -> dict[str, str]:
        """Fully qualified ref → commit id, for those that exist; without arguments all. Needs no mirror."""
        wanted = [full_ref(ref) for ref in refs]
        words = ["ls-remote", "--quiet", "--", self._store.address.url, *wanted]
        output = self._store.run(*words, timeout=min(ASKING_SECONDS, self._store.timeout)).out
        rows = (line.split("\t") for line in output.decode(errors="surrogateescape").splitlines())
        return {name: sha for sha, name in rows if not wanted or name in wanted}

    def tip(self, branch: str) -> str | None:
        """Where the branch is now on the remote."""
        ref = branch_ref(branch)
        return self.tips(ref).get(ref)

    def fetch(self, branches: Sequence[str]) -> dict[str, str]:
        """Brings `refs/remotes/origin/<branch>` up to date; branches the remote has not are dropped, and
        absent.
        """
        refs = [branch_ref(branch) for branch in branches]
        for last_try in (False, False, True):
            there = self._branches(refs)
            try:
                with self._store.in_use():
                    return self._update(there, branches)
            except Moved:  # another thread or process fetches too
                if last_try:
                    raise
            except NotFound:  # a branch went away between asking and fetching
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def _branches(self, refs: Sequence[str]) -> dict[str, str]:
        found = self.tips(*refs) if refs else self.tips()
        prefix = "refs/heads/"
        return {ref.removeprefix(prefix): sha for ref, sha in found.items() if ref.startswith(prefix)}

    def _update(self, there: Mapping[str, str], branches: Sequence[str]) -> dict[str, str]:
        here = self._tracked([*there, *branches])
        if gone := [branch for branch in here if branch not in there]:
            commands = "".join(f"delete {tracking(branch)}\n" for branch in gone)
            self._store.run("update-ref", "--stdin", stdin=commands.encode())
        if stale := [branch for branch, sha in there.items() if here.get(branch) != sha]:
            with locked(self._store.folder / f"{self._store.address.key}.fetch.lock", timeout=90):
                self._fetch(stale, first=not here)
            here = self._tracked(there)
        return {branch: here[branch] for branch in there if branch in here}

    def _tracked(self, branches: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
        found = ((branch, self._store.ref(tracking(branch))) for branch in branches)
        return {branch: sha for branch, sha in found if sha}

    def _fetch(self, branches: Sequence[str], *, first: bool) -> None:
        words = [*self._fetching(), "--force", "--stdin"]
        refspecs = "".join(f"+{branch_ref(branch)}:{tracking(branch)}\n" for branch in branches)
        timeout = self._store.timeout * (FIRST_FETCH_FACTOR if first else 1)
        done = self._store.run(*words, "origin", stdin=refspecs.encode(), timeout=timeout)
        if "filtering not recognized" in done.err:
            self._unfiltered.touch()  # it sent everything: git must not go on believing that blobs may be missing

    def _fetching(self) -> list[str]:
        """`git fetch`, blobless where the server can. Without configuration of its own, so nothing is lazy."""
        words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]
        return words if self._unfiltered.exists() else [*PROMISED, *words, "--filter=blob:none"]

    @property
    def _unfiltered(self) -> Path:
        return self._store.path / "tidegate-unfiltered"

    def fetch_commit(self, sha: str) -> None:
        """Brings one commit by id, for when the mirror was lost or the branch has moved on; `NotFound`."""
        with self._store.in_use():
            self._store.run(*self._fetching(), "origin", sha)

    def fetch_objects(self, ids: Sequence[str]) -> None:
        """Brings blobs: no negotiation, ids on stdin, so the server sends exactly these."""
        words = ["-c", "fetch.negotiationAlgorithm=noop", *self._fetching(), "--stdin", "origin"]
        with self._store.in_use():
            timeout = self._store.timeout * FIRST_FETCH_FACTOR
            self._store.run(*words, stdin="".join(f"{id}\n" for id in ids).encode(), timeout=timeout)

    def push(self, branch: str, new: str, old: str | None) -> Push:
        """Moves the remote's branch from `old` (`None`: it must not exist) to `new`, or does not touch it.

        GitPython's `push` raises nothing when a push is rejected, so git's own report is read: only exit code
        0 *and* a line that says our ref was updated count. `Rejected` with the server's words; `Unreachable`
        when nothing was sent.
        """
        ref = branch_ref(branch)
        words = ["push", "--porcelain", "--no-verify", f"--force-with-lease={ref}:{old or ''}"]
        try:
            done = self._store.attempt(*words, "--", "origin", f"{new}:{ref}")
        except Unreachable:
            return Push.Unclear
        flag, summary = _report(done.out.decode(errors="replace"), ref)
        if done.code == 0 and flag in ("*", " ", "="):
            return Push.Landed
        if flag == "!":
            return self._rejection(branch, summary, done.err)
        return self._breakdown(done.err)

    def _rejection(self, branch: str, summary: str, err: str) -> Push:
        if summary.startswith("[rejected]"):
            return Push.Behind
        if summary.startswith("[remote failure]"):
            return Push.Unclear
        if _SERVER_BUSY.search(summary + err):
            return Push.Busy
        said = short("\n".join(line for line in err.splitlines() if line.startswith("remote:")))
        words = f"{summary.removeprefix('[remote rejected] ')} {said}".strip()
        raise Rejected(f"{self._store.address.url}: push to {branch} was rejected: {words}")

    def _breakdown(self, err: str) -> Push:
        error = failure(self._store.address.url, err)
        if isinstance(error, Unreachable) and not _NOT_SENT.search(err):
            return Push.Unclear
        if isinstance(error, SpecError | Moved):
            return Push.Busy
        raise error


def tracking(branch: str) -> str:
    """The local ref that remembers the remote's branch."""
    return f"refs/remotes/origin/{branch}"


def _report(out: str, ref: str) -> tuple[str, str]:
    """The porcelain line of our ref: (flag, summary); empty when there is none."""
    for line in out.splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and parts[1].endswith(f":{ref}"):
            return parts[0], parts[2]
    return "", ""
