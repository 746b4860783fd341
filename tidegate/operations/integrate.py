"""Integrate: one revision through audit, tests and build; the ledger says what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegate import plugins
from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH as LEDGER
from tidegate.adapters.ledger import Ledger
from tidegate.adapters.steps import Step, StepResult
from tidegate.adapters.testing import run_tests
from tidegate.domain.records import Kind, Record
from tidegate.domain.release import Evidence, Image, Release
from tidegate.errors import NotFound, Refused
from tidegate.operations.look import release_from
from tidegate.operations.revisions import newest_revision
from tidegate.settings import Settings
from tidegate.spec import Application, Section

Run = Callable[[Step], StepResult]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A revision on disk-to-be: which commit, which tree, how far along its branch."""

    revision: str
    tree: str
    height: int
    subject: str
    newest: bool
    """Whether the branch still ends here."""


def fetch(application: Application, settings: Settings, revision: str | None = None) -> Fetched:
    """Bring the source mirror up to date and look at a revision (default: the head of the branch).

    `Refused` when history was rewritten: the newest revision on record is no ancestor of the head. A revision that
    a person names is taken as it is.
    """
    mirror = Mirror(application.source.git, settings)
    branch = application.source.branch
    head = mirror.fetch(branch).get(branch)
    if head is None:
        raise NotFound(f"{mirror.url_redacted}: there is no branch {branch}; check source.branch")
    sha = revision or head
    before = newest_revision(_ledger(application, settings).records(app=application.name, refresh=False))
    if before and not revision and not _follows(mirror, before, sha):
        raise Refused(
            f"{application.name}: history of {branch} was rewritten: {before[:7]} is no longer part of it; "
            f"look at it, then `tidegate run {application.name} --revision {sha[:12]}`"
        )
    commit = mirror.log(sha, limit=1)[0]
    tree = mirror.tree_id(sha, "") or sha
    return Fetched(sha, tree, mirror.height(sha), commit.subject, newest=sha == head)


def _follows(mirror: Mirror, before: str, sha: str) -> bool:
    try:
        return mirror.is_ancestor(before, sha) or mirror.is_ancestor(sha, before)
    except NotFound:
        return False  # the server has dropped the old commit already


def _ledger(application: Application, settings: Settings) -> Ledger:
    mirror = Mirror(application.config.git, settings)
    ledger = Ledger(mirror)
    mirror.fetch(LEDGER)
    return ledger


@contextmanager
def checkout(application: Application, settings: Settings, revision: str) -> Iterator[Path]:
    """The revision's files in a folder of their own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{application.name}-") as folder:
        source = Path(folder) / application.name
        Mirror(application.source.git, settings).export(revision, source)
        yield source


def audit(section: Section, source: Path, run: Run) -> Evidence:
    """One auditor's answer."""
    found: Evidence = plugins.build("auditors", section).audit(source, run)
    return found


def test(application: Application, source: Path, run: Run) -> Evidence | None:
    """The application's own tests; None when it has none."""
    suite = application.integrate.test
    return run_tests(suite, source, run) if suite else None


def build(application: Application, source: Path, fetched: Fetched, run: Run) -> Image:
    """Build and publish the image; a tree that was built before is only looked up."""
    builder = plugins.build("builders", application.integrate.build)
    image: Image = builder.build(
        source, tree_id=fetched.tree, revision=fetched.revision, app=application.name, run=run
    )
    return image


def known_release(application: Application, settings: Settings, revision: str) -> Release | None:
    """The release already on record for a revision."""
    records = _ledger(application, settings).records(app=application.name, refresh=False)
    made = (r for r in records if r.kind is Kind.Release and r.data["revision"] == revision)
    return next((release_from(r) for r in made), None)


def record_release(
    application: Application,
    settings: Settings,
    fetched: Fetched,
    image: Image,
    evidence: Sequence[Evidence],
    flow_run: str = "",
) -> Release:
    """Put a release on record; the same revision again returns the one already there."""
    known = known_release(application, settings, fetched.revision)
    if known:
        return known
    release = Release(
        app=application.name,
        revision=fetched.revision,
        height=fetched.height,
        images=(image,),
        created=datetime.now(UTC),
        subject=fetched.subject,
        evidence=tuple(evidence),
    )
    data = {
        "revision": release.revision,
        "height": release.height,
        "subject": release.subject,
        "tree": fetched.tree,
        "images": [asdict(i) for i in release.images],
        "evidence": [asdict(e) for e in evidence],
    }
    message = f"{application.name} {release.id} made from {release.revision[:7]}: {release.subject}"
    made = Record(
        Kind.Release,
        application.name,
        release.created,
        message,
        release=release.id,
        flow_run=flow_run,
        data=data,
    )
    _ledger(application, settings).append(made)
    return release


def record_refusal(
    application: Application,
    settings: Settings,
    fetched: Fetched,
    evidence: Sequence[Evidence],
    flow_run: str = "",
) -> str:
    """Put on record that a revision is no release, and why; returns the sentence."""
    failed = "; ".join(f"{e.step}: {e.message}" for e in evidence if not e.passed)
    message = f"{application.name} {fetched.revision[:7]} refused: {failed}"
    data = {
        "revision": fetched.revision,
        "height": fetched.height,
        "subject": fetched.subject,
        "evidence": [asdict(e) for e in evidence],
    }
    made = Record(Kind.Refused, application.name, datetime.now(UTC), message, flow_run=flow_run, data=data)
    _ledger(application, settings).append(made)
    return message
