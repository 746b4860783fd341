"""Revisions: ask every source repository once what is new; `git-sync` turns the answer into events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH as LEDGER
from tidegate.adapters.ledger import Ledger
from tidegate.domain.records import Kind, Record
from tidegate.errors import TidegateError
from tidegate.settings import Settings
from tidegate.spec import Application


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit of an application's branch that no release and no refusal is on record for."""

    app: str
    git: str
    branch: str
    sha: str
    before: str | None
    """The newest revision on record, if any."""


@dataclass(frozen=True, slots=True)
class Found:
    """New revisions, and what could not be asked."""

    revisions: tuple[Revision, ...]
    problems: tuple[str, ...]
    asked: int
    """Repositories asked."""


def find_new(applications: Sequence[Application], settings: Settings) -> Found:
    """One `ls-remote` per source and config repository; a fetch only where a branch has moved."""
    heads, problems = _heads(applications, settings)
    records = _Records(settings)
    found: list[Revision] = []
    for app in applications:
        sha = heads.get(app.source.git, {}).get(f"refs/heads/{app.source.branch}")
        if sha is None:
            continue
        try:
            before = newest_revision(records.of(app))
            if sha != before and touches(app, settings, before, sha):
                found.append(Revision(app.name, app.source.git, app.source.branch, sha, before))
        except TidegateError as error:
            problems.append(f"{app.name}: {error}")
    return Found(tuple(found), tuple(problems), len(heads))


def _heads(
    applications: Iterable[Application], settings: Settings
) -> tuple[dict[str, dict[str, str]], list[str]]:
    wanted: dict[str, set[str]] = defaultdict(set)
    for app in applications:
        wanted[app.source.git].add(f"refs/heads/{app.source.branch}")
    heads: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for url, refs in wanted.items():
        try:
            heads[url] = Mirror(url, settings).ls_remote(*sorted(refs))
        except TidegateError as error:
            problems.append(str(error))
            continue
        problems += [
            f"{Mirror(url, settings).url_redacted}: branch {r} is gone" for r in refs - set(heads[url])
        ]
    return heads, problems


class _Records:
    """Ledger records, each config repository fetched at most once per look."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, Ledger] = {}

    def of(self, app: Application) -> Sequence[Record]:
        url = app.config.git
        if url not in self._open:
            mirror = Mirror(url, self._settings)
            self._open[url] = Ledger(mirror)
            self._refresh(mirror)
        return self._open[url].records(app=app.name, refresh=False)

    @staticmethod
    def _refresh(mirror: Mirror) -> None:
        remote = mirror.ls_remote(f"refs/heads/{LEDGER}").get(f"refs/heads/{LEDGER}")
        if remote and remote != mirror.tip(LEDGER):
            mirror.fetch(LEDGER)


def newest_revision(records: Iterable[Record]) -> str | None:
    """The source revision of the newest release or refusal on record."""
    seen = [r for r in records if r.kind in (Kind.Release, Kind.Refused)]
    return str(seen[-1].data["revision"]) if seen else None


def touches(app: Application, settings: Settings, before: str | None, sha: str) -> bool:
    """Whether commits since `before` change a watched path; unknown or rewritten history counts as yes."""
    if before is None or app.source.paths == ("**",):
        return True
    mirror = Mirror(app.source.git, settings)
    mirror.fetch(app.source.branch)
    if not mirror.is_ancestor(before, sha):
        return True
    return any(matches(path, app.source.paths) for path in mirror.changed(before, sha))


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path fits one of the patterns; `**` crosses folders, `*` does not."""
    return any(_glob(PurePosixPath(path).parts, PurePosixPath(pattern).parts) for pattern in patterns)


def _glob(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return any(_glob(path[n:], rest) for n in range(len(path) + 1)) if rest else True
    return bool(path) and PurePosixPath(path[0]).match(head) and _glob(path[1:], rest)
