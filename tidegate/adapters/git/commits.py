"""Commits that land: edit the newest tip, push with the expected old id, on a race edit again. Never rebase.

An edit is a pure function of the tree, so running it again on the tip that won is conflict-free by
construction. Commits made while the remote was down are the exception: their edits are
gone, so on a race the paths they touched are written onto the new tip as they were meant, and a warning names
paths both sides changed.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tidegate.adapters.git.address import branch_ref
from tidegate.adapters.git.history import message
from tidegate.adapters.git.remote import Push, Remote, tracking
from tidegate.adapters.git.store import Store
from tidegate.adapters.git.trees import Recent, Trees
from tidegate.adapters.git.writing import Change, Draft, Edit, Tree, effective, write
from tidegate.errors import Conflict, Rejected, TidegateError, Unknown, Unreachable
from tidegate.settings import Settings

log = logging.getLogger(__name__)

_QUICK = 3
_LIMIT = 3


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What became of an edit."""

    sha: str
    """The commit, or the tip when nothing had to change (empty: there is no such branch)."""
    created: bool
    pushed: bool
    """Whether the remote has it; `False` for commits kept to be pushed later."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What the remote says after an unclear push."""

    landed: str | None
    """The id under which our commit is there."""
    moved: bool
    """Whether the branch is somewhere else than before."""


def pause(attempt: int) -> float:
    """Seconds before try `attempt` (1, 2, …): three quick ones, then 1 s × 1.5 up to 30 s, jitter ½
    (Kargo's).
    """
    steady = 0.05 * 2**attempt if attempt <= _QUICK else min(30.0, 1.5 ** (attempt - _QUICK - 1))
    return steady * random.uniform(0.5, 1.5)  # noqa: S311 - spreads writers, protects nothing


class Commits:
    """Writes to the branches of one mirror."""

    def __init__(self, store: Store, trees: Trees, remote: Remote, settings: Settings) -> None:
        self._store, self._trees, self._remote = store, trees, remote
        self._ancestry: Recent[bool] = Recent(1024)
        self._name = re.sub(r"[<>\n\0]", "", settings.author_name) or "Tidegate"
        self._email = re.sub(r"[<>\s\0]", "", settings.author_email)

    def tip(self, branch: str) -> str | None:
        """Our kept commits first, else what was last fetched."""
        return self._store.ref(branch_ref(branch)) or self._store.ref(tracking(branch))

    def commit(
        self,
        branch: str,
        edit: Edit,
        words: tuple[str, str, Mapping[str, str]],
        *,
        push: bool,
        attempts: int,
        offline: bool,
    ) -> CommitResult:
        """See `Mirror.commit`; `words` are subject, body and trailers."""
        with self._store.branch_lock(branch), self._store.in_use():
            attempt = _Attempt(self, branch, edit, words, offline)
            if push and attempt.catch_up():
                return attempt.push(attempts)
            return attempt.keep()

    def draft(self, words: tuple[str, str, Mapping[str, str]], changes: tuple[Change, ...]) -> Draft:
        """The commit object's parts, as of now, in UTC."""
        person = f"{self._name} <{self._email}> {int(time.time())} +0000"
        return Draft(message(*words), changes, person, person)

    def write(self, branch: str, base: str | None, drafts: Iterator[Draft] | list[Draft]) -> str:
        """Writes commits that no branch has yet."""
        return write(self._store, f"refs/tidegate/work/{_digest(branch)}", base, drafts)

    def settle(self, branch: str, new: str, old: str | None, trailers: Mapping[str, str]) -> Settled:
        """After an unclear push: asks the remote. Our commit counts as landed by its id or, when the server made
        another commit of it, by its trailers.
        """
        tip = self._remote.tip(branch)
        if tip == new:
            self._store.attempt("update-ref", tracking(branch), new)
            return Settled(new, moved=True)
        if tip is None or tip == old:
            return Settled(None, moved=False)
        self._remote.fetch([branch])
        if self.is_ancestor(new, tip):
            return Settled(new, moved=True)
        return Settled(self._find(trailers, old, tip) if trailers else None, moved=True)

    def _find(self, trailers: Mapping[str, str], old: str | None, tip: str) -> str | None:
        from tidegate.adapters.git.history import FORMAT, parse

        span = f"{old}..{tip}" if old else tip
        output = self._store.run("log", "-z", f"--format=tformat:{FORMAT}", "--max-count=500", span, "--").out
        for commit in parse(output):
            if all(
                commit.trailers.get(key) == " ".join(value.split())
                for key, value in trailers.items()
                if value
            ):
                return commit.sha
        return None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`; unknown commits are in nothing."""
        if old == new:
            return True
        if self._store.object(old) is None:
            return False
        span = f"{old}..{new}"
        known = self._ancestry.get(span)
        if known is None:
            done = self._store.run("merge-base", "--is-ancestor", old, new, ok=(0, 1))
            known = self._ancestry.put(span, done.code == 0)
        return known

    # -- commits kept while the remote was down --------------------------------------------------------------
    def pending(self) -> tuple[str, ...]:
        """Branches with commits the remote has not."""
        return tuple(self._store.kept())

    def push_kept(self, branch: str) -> bool:
        """`push_pending` for callers that hold no lock."""
        with self._store.branch_lock(branch), self._store.in_use():
            return self.push_pending(branch)

    def push_pending(self, branch: str) -> bool:
        """Pushes one branch's kept commits; says whether there were any."""
        ref = branch_ref(branch)
        for attempt in range(1, 11):
            kept = self._store.ref(ref)
            if kept is None:
                return False
            tip = self._remote.fetch([branch]).get(branch)
            new = self._on(branch, kept, tip)
            if new == tip or self._landed(branch, new, tip):
                self._store.run("update-ref", "-d", ref, kept)
                return True
            time.sleep(pause(attempt))
        raise Conflict(f"{self._store.address.url}: {branch} moved at every try; kept commits are still here")

    def _landed(self, branch: str, new: str, tip: str | None) -> bool:
        outcome = self._remote.push(branch, new, tip)
        return outcome is Push.Landed or self.settle(branch, new, tip, {}).landed is not None

    def _on(self, branch: str, kept: str, tip: str | None) -> str:
        """The kept commits as they can be pushed: as they are, or their paths written onto the tip that
        won.
        """
        if tip is None or self.is_ancestor(tip, kept):
            return kept
        if self.is_ancestor(kept, tip):
            return tip
        drafts = list(self._replay(branch, kept, tip))
        return self.write(branch, tip, drafts) if drafts else tip

    def _replay(self, branch: str, kept: str, tip: str) -> Iterator[Draft]:
        tree, written = Tree(self._trees, tip), dict[str, str]()
        for sha in (
            self._store.run("rev-list", "--reverse", "--topo-order", kept, f"^{tip}").out.decode().split()
        ):
            changes = tuple(self._touched(sha))
            fresh = []
            for change in changes:
                there = written.get(change.path) or getattr(tree.entry(change.path), "id", "")
                if there != change.blob:
                    fresh.append(change)
                    written[change.path] = change.blob
            if fresh:
                names = ", ".join(change.path for change in fresh[:5])
                log.warning(
                    "%s moved while it was out of reach: writing %s of %s onto it", branch, names, sha[:10]
                )
                yield self._same(sha, tuple(fresh))

    def _touched(self, sha: str) -> Iterator[Change]:
        output = self._store.run("diff-tree", "-r", "-z", "--root", "--no-commit-id", "--no-renames", sha).out
        parts = output.decode(errors="surrogateescape").split("\0")
        for row, path in zip(parts[::2], parts[1::2], strict=False):
            _, mode, _, blob, _ = row.split(" ")
            gone = set(blob) == {"0"}
            yield Change(path, "" if gone else mode, None, "" if gone else blob)

    def _same(self, sha: str, changes: tuple[Change, ...]) -> Draft:
        found = self._store.object(sha)
        assert found is not None
        head, _, text = found.data.decode(errors="surrogateescape").partition("\n\n")
        people = dict(
            line.split(" ", 1) for line in head.splitlines() if line.startswith(("author ", "committer "))
        )
        return Draft(text, changes, people["author"], people["committer"])


class _Attempt:
    """One edit on its way to the remote."""

    def __init__(
        self,
        commits: Commits,
        branch: str,
        edit: Edit,
        words: tuple[str, str, Mapping[str, str]],
        offline: bool,
    ) -> None:
        self._commits, self._branch, self._edit, self._words = commits, branch, edit, words
        self._offline = offline
        self._fresh = False
        self._failed: list[Push] = []
        self._subject = f"{commits._store.address.url}: {branch}"

    def catch_up(self) -> bool:
        """Commits kept earlier go first. `False`: the remote is down, and we may go on without it."""
        if self._commits._store.ref(branch_ref(self._branch)) is None:
            return True
        return self._online(lambda: self._commits.push_pending(self._branch))

    def _online(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except Unreachable:
            if not self._offline:
                raise
            return False
        return True

    def _refresh(self) -> None:
        self._commits._remote.fetch([self._branch])
        self._fresh = True

    def _edited(self, base: str | None) -> tuple[Change, ...]:
        tree = Tree(self._commits._trees, base)
        return effective(tree, self._edit(tree))

    def keep(self) -> CommitResult:
        """Commits here only."""
        base = self._commits.tip(self._branch)
        if base is None and not self._fresh:
            self._online(self._refresh)
            base = self._commits.tip(self._branch)
        changes = self._edited(base)
        if not changes:
            return CommitResult(base or "", False, base is not None and self._is_remote(base))
        return self._kept(self._write(base, changes), base)

    def _is_remote(self, base: str) -> bool:
        return self._commits._store.ref(branch_ref(self._branch)) is None

    def _kept(self, new: str, base: str | None) -> CommitResult:
        ref, store = branch_ref(self._branch), self._commits._store
        was = store.ref(ref)
        store.run("-c", "core.fsync=committed,loose-object", "update-ref", ref, new, was or "0" * 40)
        return CommitResult(new, True, False)

    def _write(self, base: str | None, changes: tuple[Change, ...]) -> str:
        return self._commits.write(self._branch, base, [self._commits.draft(self._words, changes)])

    def push(self, attempts: int) -> CommitResult:
        """Until it has landed, is not needed, or the tries are used up."""
        for attempt in range(1, attempts + 1):
            base = self._commits.tip(self._branch)
            if (base is None or attempt > 1) and not self._fresh:
                if not self._online(self._refresh):
                    return self.keep()
                base = self._commits.tip(self._branch)
            result = self._once(base)
            if result is not None:
                return result
            time.sleep(0.0 if self._fresh else pause(attempt))
        raise Conflict(f"{self._subject} moved at each of {attempts} tries; try again later")

    def _once(self, base: str | None) -> CommitResult | None:
        """One try on `base`; `None`: look at the new tip and try again."""
        try:
            changes = self._edited(base)
        except TidegateError:
            if self._fresh or not self._changed_by_refresh(base):
                raise
            return None
        if not changes:
            same = self._fresh or not self._changed_by_refresh(base)
            return CommitResult(base or "", created=False, pushed=True) if same else None
        self._fresh = False
        return self._try(self._write(base, changes), base)

    def _changed_by_refresh(self, base: str | None) -> bool:
        """The first try trusts the last fetch; an answer of "nothing to do" has to be checked against the
        remote.
        """
        if not self._online(self._refresh):
            self._fresh = True
        return self._commits.tip(self._branch) != base

    def _try(self, new: str, base: str | None) -> CommitResult | None:
        try:
            outcome = self._commits._remote.push(self._branch, new, base)
        except Unreachable:
            if self._offline:
                return self._kept(new, base)
            raise
        match outcome:
            case Push.Landed:
                return CommitResult(new, created=True, pushed=True)
            case Push.Behind:
                return None
            case Push.Busy | Push.Unclear:
                return self._settled(outcome, new, base)

    def _settled(self, outcome: Push, new: str, base: str | None) -> CommitResult | None:
        try:
            settled = self._commits.settle(self._branch, new, base, self._words[2])
        except Unreachable as error:
            if self._offline:
                return self._kept(new, base)
            raise Unknown(
                f"{self._subject}: nobody can say whether {new[:10]} arrived; look again ({error})"
            ) from error
        if settled.landed:
            return CommitResult(settled.landed, created=True, pushed=True)
        if settled.moved:
            self._failed.clear()
        else:
            self._failed.append(outcome)
            self._give_up_at_limit()
        return None

    def _give_up_at_limit(self) -> None:
        """The branch did not move, so it was not a race."""
        if self._failed.count(Push.Busy) >= _LIMIT:
            raise Rejected(
                f"{self._subject}: the server cannot lock the branch; look there for a stale lock file, or"
                " another push that hangs"
            )
        if self._failed.count(Push.Unclear) >= _LIMIT:
            raise Unreachable(
                f"{self._subject}: the connection broke at each of {_LIMIT} pushes; none arrived"
            )


def _digest(branch: str) -> str:
    return hashlib.sha256(branch.encode()).hexdigest()[:12]
