"""A repository as the rest of Tidegate sees it: a bare mirror that reads, compares and commits. No work
tree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from tidegate.adapters.git.address import Address, branch_ref, file_path, folder_path, object_id
from tidegate.adapters.git.commits import CommitResult, Commits
from tidegate.adapters.git.export import export
from tidegate.adapters.git.failures import Corrupt, DiskFull, Failed, Moved
from tidegate.adapters.git.history import FORMAT, Commit, parse
from tidegate.adapters.git.remote import Remote
from tidegate.adapters.git.store import Store
from tidegate.adapters.git.trees import Entry, Trees
from tidegate.adapters.git.writing import Edit
from tidegate.errors import Conflict, NotFound, OutsideError
from tidegate.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")


class Mirror:
    """One repository's mirror under `settings.home/mirrors`. It may vanish at any time: it comes back by
    itself.

    Safe to share between threads, and between processes with the same home. Raises `Unreachable` when the
    remote is down, slow or cannot be found, `Rejected` when it refuses (credentials, hooks), `NotFound`, and
    `OutsideError` with the word disk when there is no space.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        address = Address.parse(url, settings.git_protocols)
        self.url_redacted = address.url
        """The URL without user information, for messages."""
        self._store = Store(address, settings)
        self._remote = Remote(self._store)
        self._trees = Trees(self._store, self._remote)
        self._commits = Commits(self._store, self._trees, self._remote, settings)
        self._heights: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Mirror({self.url_redacted})"

    # -- the remote ------------------------------------------------------------------------------------------
    def ls_remote(self, *refs: str) -> dict[str, str]:
        """Fully qualified ref (or `HEAD`) → commit id for those that exist; without arguments, all. Needs no
        mirror.
        """
        return self._remote.tips(*refs)

    def fetch(self, *branches: str) -> dict[str, str]:
        """Brings the branches up to date (without arguments: all) and returns branch → tip.

        A branch the remote does not have is dropped here, and absent in the result. A rewritten branch is
        taken as it is: compare with `is_ancestor(last, tip)`. Unchanged tips cost one `ls-remote`.
        """
        self._store.clean_sometimes()
        return self._healed(lambda: self._remote.fetch(branches))

    def push_pending(self) -> bool:
        """Pushes commits kept while the remote was down; says whether there were any.

        The edits that made them are gone: where a branch has moved meanwhile, the paths each commit touched
        are written onto the new tip as that commit meant them.
        """
        if not self._store.exists:
            return False
        branches = self._healed(self._commits.pending)
        pushed = [self._healed(partial(self._commits.push_kept, branch)) for branch in branches]
        return any(pushed)

    # -- reading ---------------------------------------------------------------------------------------------
    def tip(self, branch: str) -> str | None:
        """The branch as last fetched or committed here, without asking the remote; `None` when it is not
        known.
        """
        branch_ref(branch)
        return self._commits.tip(branch)

    def read(self, sha: str, path: str) -> bytes:
        """A file at a commit, symbolic links followed inside the repository; `NotFound` when there is
        none.
        """
        file_path(path)
        found = self._at(sha, lambda: self._trees.read(sha, path))
        if found is None:
            raise NotFound(f"{self.url_redacted}: no file {path} at {sha[:10]}")
        return found

    def tree(self, sha: str, folder: str = "") -> dict[str, bytes]:
        """All files below a folder, path from the repository's root → content; empty when the folder is
        absent.
        """
        folder_path(folder)
        return self._at(sha, lambda: self._trees.contents(sha, self._trees.below(sha, folder)))

    def files(self, sha: str, paths: Iterable[str], folder: str = "") -> dict[str, bytes]:
        """Some of the files below a folder, read in one go; like `tree`, but files nobody asked for cannot spoil it.

        `NotFound` for a path that is no file there.
        """
        folder_path(folder)
        wanted = [file_path(path) for path in paths]
        return self._at(sha, lambda: self._trees.contents(sha, self._entries(sha, wanted, folder)))

    def _entries(self, sha: str, paths: Sequence[str], folder: str) -> dict[str, Entry]:
        there = self._trees.below(sha, folder)
        if missing := next((path for path in paths if path not in there), None):
            raise NotFound(f"{self.url_redacted}: no file {missing} at {sha[:10]}")
        return {path: there[path] for path in paths}

    def tree_id(self, sha: str, folder: str = "") -> str | None:
        """The id of the folder's tree: equal ids are equal contents. `None` when there is no such folder."""
        folder_path(folder)
        return self._at(sha, lambda: self._trees.tree_id(sha, folder))

    def paths(self, sha: str, folder: str = "") -> tuple[str, ...]:
        """All files below a folder, from the repository's root, in Git's order."""
        folder_path(folder)
        return self._at(sha, lambda: tuple(self._trees.below(sha, folder)))

    def blob_ids(self, sha: str, folder: str = "") -> dict[str, str]:
        """Path → blob id, without reading the blobs."""
        folder_path(folder)
        return self._at(
            sha, lambda: {path: entry.id for path, entry in self._trees.below(sha, folder).items()}
        )

    def blobs(self, sha: str, ids: Sequence[str]) -> dict[str, bytes]:
        """Contents by blob id, of blobs that `sha` contains."""
        return self._at(sha, lambda: self._trees.blobs(map(object_id, ids)))

    def export(self, sha: str, folder: Path) -> None:
        """The commit's files in a folder (created, must be empty): no `.git`, executable bits kept.

        `Rejected` for links that lead outside, submodules, LFS pointers, and files over 100 MB.
        """
        self._at(sha, lambda: export(self._trees, sha, folder, self.url_redacted))

    # -- history ---------------------------------------------------------------------------------------------
    def changed(self, old: str, new: str) -> tuple[str, ...]:
        """Paths that differ between two commits. All of `new` when `old` is not known any more
        (rewritten).
        """
        object_id(old)
        try:
            self._at(old, lambda: self._trees.root(old))
        except NotFound:
            return self.paths(new)
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
        output = self._at(new, lambda: self._store.run(*words).out)
        return tuple(output.decode(errors="surrogateescape").split("\0")[:-1])

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`. `False` after history was rewritten, also when `old` is gone
        altogether.
        """
        object_id(old)
        return self._at(new, lambda: self._commits.is_ancestor(old, new))

    def height(self, sha: str) -> int:
        """How many commits `sha` contains: on a linear branch, larger is newer."""
        if sha not in self._heights:
            count = self._at(sha, lambda: self._store.run("rev-list", "--count", sha, "--").out)
            self._heights[sha] = int(count)
        return self._heights[sha]

    def log(
        self,
        branch_or_sha: str,
        *,
        paths: Sequence[str] = (),
        limit: int | None = None,
        since: str | datetime | None = None,
    ) -> list[Commit]:
        """Commits, newest first; those that touched `paths` (folders, files, `**` patterns); empty without a
        tip.

        `since`: a commit id (that one and what it contains are left out; unknown ones are ignored) or a time.
        """
        sha = branch_or_sha if _is_id(branch_or_sha) else self.tip(branch_or_sha)
        if sha is None:
            return []
        words = ["log", "-z", f"--format=tformat:{FORMAT}", "--no-show-signature"]
        words += [f"--max-count={int(limit)}"] if limit is not None else []
        words += [f"--since={since.isoformat()}"] if isinstance(since, datetime) else []
        span = [sha]
        if isinstance(since, str) and self._store.object(object_id(since)):
            span.append(f"^{since}")
        words += [*span, "--", *(f":(top,glob){path}" for path in paths if path)]
        return self._at(sha, lambda: list(parse(self._store.run(*words).out)))

    # -- writing ---------------------------------------------------------------------------------------------
    def commit(
        self,
        branch: str,
        edit: Edit,
        subject: str,
        *,
        body: str = "",
        trailers: Mapping[str, str] | None = None,
        push: bool = True,
        attempts: int = 10,
        offline: bool = False,
    ) -> CommitResult:
        """Commits what `edit` changes on the branch's newest tip, and pushes. A missing branch starts empty.

        `edit` must be pure: when somebody else pushes first, it runs again on their tip. It gets a `Tree` and
        returns path → content, or `None` to delete; nothing changed means nothing is committed. When the
        answer to a push is lost, the commit is looked for (by id, then by `trailers`) before anything is
        tried again.

        `push=False` keeps the commit here; `offline=True` does so only when the remote is down. See
        `push_pending`. Raises `Rejected` (hook, server lock, credentials), `Conflict` (lost every race),
        `Unknown` (nobody can say).
        """
        branch_ref(branch)
        words = (subject, body, dict(trailers or {}))
        return self._healed(
            lambda: self._commits.commit(branch, edit, words, push=push, attempts=attempts, offline=offline)
        )

    # -- a mirror is a cache ---------------------------------------------------------------------------------
    def _at(self, sha: str, look: Callable[[], T]) -> T:
        """Looks at a commit; one the mirror lost (or never had) is fetched by its id first."""
        object_id(sha)

        def known() -> T:
            if self._store.object(sha) is None:
                self._bring(sha)
                if self._store.object(sha) is None:  # git thinks it has it: an index without its pack
                    raise Corrupt(f"{self.url_redacted}: commit {sha} is missing from the mirror")
            return look()

        return self._healed(known)

    def _bring(self, sha: str) -> None:
        try:
            self._remote.fetch_commit(sha)
        except NotFound as error:
            raise NotFound(
                f"{self.url_redacted}: no commit {sha}; history was rewritten, or it was never pushed"
            ) from error

    def _healed(self, look: Callable[[], T]) -> T:
        """Cleans up after a killed process, or clones a damaged mirror again: once, then the error is raised."""
        try:
            return look()
        except DiskFull:
            self._store.make_room()
            raise
        except Moved:
            self._store.clean()
        except (Corrupt, Failed) as error:
            if self._store.was_renewed:
                raise
            log.warning("%s", error)
            self._store.renew(self._remote.fetch)
        try:
            return look()
        except Moved as error:
            raise Conflict(
                f"{error}; another process is writing this mirror, or left a lock: try again"
            ) from error
        except Corrupt as error:
            raise OutsideError(
                f"{error}; a fresh clone did not help, check the disk and the server"
            ) from error


def _is_id(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")
