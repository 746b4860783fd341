"""Restore: undo a release. First the ledger (hold, with the evidence), then Git, then the cluster.

Needs neither renderer, registry, Prometheus nor the remote: trees come from the worker's mirror, and commits made
while the remote is away are pushed when it is back. Made again after a crash it changes only what is still missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.adapters.git import Tree
from tidegate.domain.gate import Outcome, Verdict
from tidegate.domain.gate.evidence import to_data
from tidegate.domain.moves import Reason
from tidegate.domain.promotion import Good, Intent
from tidegate.domain.records import Kind, Record
from tidegate.errors import Refused
from tidegate.operations import record
from tidegate.operations.desk import Desk, Fence
from tidegate.operations.intent import commit_tree, read_about
from tidegate.operations.look import RELEASE_FILE

_REASONS = (Outcome.Failed, Outcome.Error, Outcome.Inconclusive)
"""Verdicts that are a reason to undo; with any other, something else was."""


def decision(
    desk: Desk,
    intent: Intent,
    good: Good | None,
    message: str,
    verdict: Verdict | None,
    *,
    flow_run: str,
    by: str,
) -> list[Record]:
    """What goes on record before anything is undone: the verdict if there is one, the hold, the rollback."""
    bad = "" if good and good.release == intent.release else intent.release
    where = desk.stage.name

    def made(kind: Kind, text: str, release: str, **data: object) -> Record:
        return record.new(
            desk, kind, text, release=release, by=by, flow_run=flow_run, commit=intent.commit, **data
        )

    key = f"failed:{bad or intent.commit}"
    held = f"{desk.app} {intent.release} is held in {where}: {message}"
    said = verdict if verdict and verdict.outcome in _REASONS else None
    records = [verdict_record(desk, intent, said, flow_run=flow_run)] if said else []
    records.append(made(Kind.Hold, held, bad, reason=Reason.Person.value, key=key))
    if good:
        back = f"{desk.app} {intent.release} is rolled back to {good.release} in {where}: {message}"
        records.append(made(Kind.Rollback, back, intent.release, restored=good.release, restores=good.commit))
    return records


def verdict_record(desk: Desk, intent: Intent, verdict: Verdict, *, flow_run: str = "") -> Record:
    """A gate's final answer with everything needed to give it again."""
    data = {**to_data(verdict), "commit": intent.commit}
    return record.new(desk, Kind.Verdict, verdict.message, release=intent.release, flow_run=flow_run, **data)


def hold_as_it_is(
    desk: Desk, intent: Intent, message: str, verdict: Verdict | None, *, flow_run: str = ""
) -> None:
    """Hold the release and change nothing else: there is no earlier state, or the spec says so."""
    records = decision(desk, intent, None, message, verdict, flow_run=flow_run, by="tidegate")
    record.append_missing(desk, records)


def restore(
    desk: Desk,
    intent: Intent,
    good: Good,
    message: str,
    *,
    fence: Fence,
    verdict: Verdict | None = None,
    flow_run: str = "",
    by: str = "tidegate",
    offline: bool = False,
) -> Intent:
    """Hold the release and restore the last good state in Git; returns the new intent, which is to be applied."""
    fence()
    records = decision(desk, intent, good, message, verdict, flow_run=flow_run, by=by)
    record.append_missing(desk, records, offline=offline)
    fence()
    config_commit = _restore_folder(desk, intent, good, message, flow_run, offline)
    fence()
    return _restore_tree(desk, intent, good, config_commit, flow_run, offline)


def _trailers(desk: Desk, good: Good, reverts: str, flow_run: str) -> dict[str, str]:
    trailers = {"Tidegate-Release": good.release, "Tidegate-Stage": desk.stage.name, "Reverts": reverts}
    return trailers | ({"Flow-Run": flow_run} if flow_run else {})


def _restore_folder(
    desk: Desk, intent: Intent, good: Good, message: str, flow_run: str, offline: bool
) -> str:
    """Write the stage's folder as it was at the last good state; the config commit that has it so."""
    folder = desk.stage.path
    before = desk.config.tree(str(read_about(desk, good.commit)["config_commit"]), folder)

    def edit(at: Tree) -> Mapping[str, bytes | None]:
        now = at.files(folder)
        gone: dict[str, bytes | None] = {path: None for path in now if path not in before}
        return gone | {path: text for path, text in before.items() if now.get(path) != text}

    done = desk.config.commit(
        desk.application.config.branch,
        edit,
        f"Roll back {desk.app} in {desk.stage.name} to {good.release}",
        body=message,
        trailers=_trailers(desk, good, intent.config_commit, flow_run),
        offline=offline,
    )
    return str(done.sha)


def _restore_tree(
    desk: Desk, intent: Intent, good: Good, config_commit: str, flow_run: str, offline: bool
) -> Intent:
    written = {p: t for p, t in desk.config.tree(good.commit).items() if p != RELEASE_FILE}
    about = {**read_about(desk, good.commit), "config_commit": config_commit, "restored_from": good.commit}
    subject = f"{desk.app} {good.release} should be live in {desk.stage.name} again"
    trailers = _trailers(desk, good, intent.commit, flow_run)
    commit = commit_tree(desk, written, about, subject, trailers, offline=offline)
    return Intent(commit, good.release, config_commit, restored=True)


def earlier(desk: Desk, to: str | None) -> Good:
    """The good state to go back to by hand: that of release `to` (a prefix will do), else the one before this."""
    records = desk.ledger.records(app=desk.app, stage=desk.stage.name, refresh=False)
    states = [Good(r.data["commit"], r.release, r.at) for r in records if r.kind is Kind.Sync]
    if to:
        states = [s for s in states if s.release.startswith(to)]
    elif states:
        states = [s for s in states if s.release != states[-1].release]
    if not states:
        what = f"release {to} was never live and good in" if to else "there is no earlier good release in"
        raise Refused(f"{desk.app}: {what} {desk.stage.name}; `tidegate history {desk.app}` shows what was")
    return states[-1]
