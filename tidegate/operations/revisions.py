"""Revisions: ask every repository once what is new; `git-sync` turns the answer into events.

What was found out about a commit stays true, so it is kept: the newest revision on record as of a ledger's tip, and
up to which commit nothing touched an application's paths. A look at which nothing has moved asks the remotes and
nobody else, however many applications there are. Lose the file and the next look finds out again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH as LEDGER
from tidegate.domain.records import Kind, Record
from tidegate.errors import OutsideError, Rejected, TidegateError
from tidegate.settings import Settings
from tidegate.spec import Application

log = logging.getLogger(__name__)

FILE = "revisions.json"
_AT_ONCE = 8
_FEW = 32
"""So many folders of a ledger are listed one by one; more of them, and the whole ledger in one go."""
_LEDGER_REF = f"refs/heads/{LEDGER}"


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
    """Source repositories that answered."""


def find_new(applications: Sequence[Application], settings: Settings) -> Found:
    """One `ls-remote` per source and config repository; a fetch only where a branch has moved."""
    groups = _groups(applications)
    tips, problems = _ask(groups, settings)
    memory = _Memory.load(Path(settings.home) / FILE)
    as_found = memory.copy()
    look = _Look(_Ledgers(groups, settings, tips, memory), _Sources(settings), memory, problems)
    for place, apps in groups.items():
        sha = tips.get(place.source, {}).get(place.ref)
        if sha and place.config in tips:  # otherwise it is a problem already, said once per repository
            look.at(place, apps, sha)
    if memory != as_found:
        memory.save(applications)
    asked = {place.source for place in groups} & set(tips)
    return Found(tuple(look.found), tuple(problems), len(asked))


@dataclass(slots=True)
class _Look:
    """One look at everything, and what it found."""

    ledgers: _Ledgers
    sources: _Sources
    memory: _Memory
    problems: list[str]
    found: list[Revision] = field(default_factory=list)

    def at(self, place: _Place, apps: Iterable[Application], sha: str) -> None:
        """Compare where the branch is with what is on record for each application."""
        try:
            newest = self.ledgers.newest(place.config)
        except TidegateError as error:
            self.problems.append(str(error))
            return
        for app in [app for app in apps if newest[app.name] != sha]:
            try:
                before = _readable(newest[app.name])
                if _is_new(app, self.memory, self.sources, before, sha):
                    self.found.append(Revision(app.name, place.source, place.branch, sha, before))
            except TidegateError as error:
                self.problems.append(f"{app.name}: {error}")


class _Place(NamedTuple):
    """What applications share that ask the same question."""

    source: str
    branch: str
    config: str

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"


_Groups = dict[_Place, list[Application]]


_PLACE = attrgetter("source.git", "source.branch", "config.git")


def _groups(applications: Sequence[Application]) -> _Groups:
    groups: dict[tuple[str, str, str], list[Application]] = defaultdict(list)
    for place, app in zip(map(_PLACE, applications), applications, strict=True):
        groups[place].append(app)
    return {_Place(*place): apps for place, apps in groups.items()}


# --- asking -------------------------------------------------------------------------------------------------


def _ask(places: Iterable[_Place], settings: Settings) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Tips by repository and ref, a few repositories at a time; those that do not answer are problems."""
    branches: dict[str, set[str]] = defaultdict(set)
    for place in places:
        branches[place.source].add(place.ref)
    wanted: dict[str, set[str]] = {url: set(refs) for url, refs in branches.items()}
    for place in places:
        wanted.setdefault(place.config, set()).add(_LEDGER_REF)
    mirrors = {url: Mirror(url, settings) for url in wanted}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {url: pool.submit(mirrors[url].ls_remote, *sorted(refs)) for url, refs in wanted.items()}
    tips: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for url, answer in asked.items():
        try:
            tips[url] = answer.result()
        except TidegateError as error:
            problems.append(str(error))
            continue
        gone = sorted(branches.get(url, set()) - set(tips[url]))
        problems += [f"{mirrors[url].url_redacted}: branch {ref} is gone" for ref in gone]
    return tips, problems


# --- what is on record --------------------------------------------------------------------------------------


def newest_revision(records: Iterable[Record]) -> str | None:
    """The source revision of the newest release or refusal on record."""
    seen = [r for r in records if r.kind in (Kind.Release, Kind.Refused)]
    return str(seen[-1].data["revision"]) if seen else None


class _Ledgers:
    """The newest revision on record of every application, read only as far as a ledger has moved."""

    def __init__(
        self,
        groups: _Groups,
        settings: Settings,
        tips: Mapping[str, Mapping[str, str]],
        memory: _Memory,
    ) -> None:
        self._groups, self._settings, self._tips, self._memory = groups, settings, tips, memory
        self._newest: dict[str, Mapping[str, str]] = {}

    def newest(self, url: str) -> Mapping[str, str]:
        """By name of every application with this config repository, as `_Ledger.newest` has it."""
        if url not in self._newest:
            names = {app.name for place, apps in self._groups.items() if place.config == url for app in apps}
            self._newest[url] = self._read(url, names)
        return self._newest[url]

    def _read(self, url: str, names: set[str]) -> Mapping[str, str]:
        key, remote = _digest(url), self._tips[url].get(_LEDGER_REF, "")
        known = self._memory.ledgers.get(key)
        if known is None or known.tip != remote or not known.newest.keys() >= names:
            mirror = Mirror(url, self._settings)
            if remote and remote != mirror.tip(LEDGER):
                mirror.fetch(LEDGER)
            known = self._memory.ledgers[key] = _advanced(mirror, known, names)
        return known.newest


def _advanced(mirror: Mirror, known: _Ledger | None, apps: set[str]) -> _Ledger:
    """What is known, brought to the mirror's tip, for at least these applications."""
    tip = mirror.tip(LEDGER)
    if tip is None:
        return _Ledger("", dict.fromkeys(apps, ""))
    stale = {path.split("/")[0] for path in mirror.changed(known.tip, tip)} if known and known.tip else set()
    kept = {a: r for a, r in known.newest.items() if a not in stale} if known and known.tip else {}
    missing = {app for app in apps if app not in kept}
    last: dict[str, tuple[str, str]] = {}
    for path, blob in _listed(mirror, tip, missing).items():
        app, stage, name = (*path.split("/"), "", "")[:3]
        if app in missing and stage == "_" and _kind(name) in (Kind.Release, Kind.Refused):
            last[app] = max(last.get(app, ("", "")), (path, blob))  # names begin with their time
    contents = mirror.blobs(tip, [blob for _, blob in last.values()])
    read = {app: _revision(path, contents[blob]) for app, (path, blob) in last.items()}
    return _Ledger(tip, kept | dict.fromkeys(missing, "") | read)


def _listed(mirror: Mirror, tip: str, apps: Iterable[str]) -> dict[str, str]:
    """Files of the ledger, path → blob id: those of the applications named, perhaps more."""
    names = list(apps)
    if len(names) > _FEW:
        with suppress(Rejected):  # more files than one listing may have
            return mirror.blob_ids(tip)
    return {path: blob for name in names for path, blob in mirror.blob_ids(tip, f"{name}/_").items()}


def _kind(name: str) -> str:
    return (*name.split("-"), "")[1]


def _readable(before: str) -> str | None:
    """The commit, or None when nothing is on record; `OutsideError` for a record that cannot be read."""
    if before.startswith("!"):
        raise OutsideError(f"ledger: {before[1:]} is not a record; restore it from the branch's history")
    return before or None


def _revision(path: str, text: bytes) -> str:
    try:
        return str(Record.from_json(text).data["revision"])
    except (ValueError, KeyError, TypeError):
        return f"!{path}"


# --- what commits touch -------------------------------------------------------------------------------------


class _Sources:
    """Source repositories: each branch fetched, and each span of commits compared, at most once per look."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[tuple[str, str], Mirror] = {}
        self._changed: dict[tuple[str, str, str], tuple[str, ...] | None] = {}

    def changed(self, app: Application, before: str, sha: str) -> tuple[str, ...] | None:
        """Paths that differ between two commits; None when the first is no ancestor of the second."""
        span = (app.source.git, before, sha)
        if span not in self._changed:
            mirror = self._mirror(app)
            follows = mirror.is_ancestor(before, sha)
            self._changed[span] = mirror.changed(before, sha) if follows else None
        return self._changed[span]

    def _mirror(self, app: Application) -> Mirror:
        key = (app.source.git, app.source.branch)
        if key not in self._open:
            mirror = Mirror(app.source.git, self._settings)
            mirror.fetch(app.source.branch)
            self._open[key] = mirror
        return self._open[key]


def touches(app: Application, settings: Settings, before: str | None, sha: str) -> bool:
    """Whether commits since `before` change a watched path; unknown or rewritten history counts as yes."""
    return _touches(app, _Sources(settings), before, sha)


def _touches(app: Application, sources: _Sources, before: str | None, sha: str) -> bool:
    if before is None or app.source.paths == ("**",):
        return True
    paths = sources.changed(app, before, sha)
    return paths is None or any(matches(path, app.source.paths) for path in paths)


def _is_new(app: Application, memory: _Memory, sources: _Sources, before: str | None, sha: str) -> bool:
    """`touches`, going on from where the last look came to."""
    about = _digest(app.source.git, app.source.branch, *app.source.paths, before or "")
    clear = memory.clear.get(app.name, ("", ""))
    if clear == (about, sha):
        return False
    if clear[0] == about and not _touches(app, sources, clear[1], sha):
        memory.clear[app.name] = (about, sha)
        return False
    if _touches(app, sources, before, sha):
        return True
    memory.clear[app.name] = (about, sha)
    return False


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


# --- what is kept -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What a ledger says as of a tip."""

    tip: str
    newest: dict[str, str]
    """Application → newest revision on record; empty when there is none, `!path` when it cannot be read."""


@dataclass(slots=True)
class _Memory:
    """A cache: each entry names the commits it is true for. No address is written down, it may hold a token."""

    path: Path
    ledgers: dict[str, _Ledger] = field(default_factory=dict)
    """By digest of the config repository's address."""
    clear: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Application → digest of what was asked, and the commit up to which nothing touched its paths."""

    @classmethod
    def load(cls, path: Path) -> _Memory:
        """What is kept there; nothing, when that cannot be read."""
        try:
            kept = json.loads(path.read_bytes())
            ledgers = {key: _Ledger(**ledger) for key, ledger in kept["ledgers"].items()}
            clear = {app: (str(about), str(sha)) for app, (about, sha) in kept["clear"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls(path)
        return cls(path, ledgers, clear)

    def copy(self) -> _Memory:
        """To see later whether anything is new."""
        return _Memory(self.path, dict(self.ledgers), dict(self.clear))

    def save(self, applications: Iterable[Application]) -> None:
        """Keep what these applications need; a cache that cannot be written is no error."""
        kept = {(_digest(app.config.git), app.name) for app in applications}
        keys, names = {key for key, _ in kept}, {name for _, name in kept}
        ledgers = {key: asdict(ledger) for key, ledger in self.ledgers.items() if key in keys}
        clear = {app: entry for app, entry in self.clear.items() if app in names}
        draft = self.path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"ledgers": ledgers, "clear": clear}))
            draft.replace(self.path)
        except OSError as error:
            log.warning("%s: cannot be written: %s; the next look begins anew", self.path, error.strerror)
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
