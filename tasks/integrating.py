"""Integrate: fetch, audit, test, build, record; child processes stream into the run's log."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from prefect import task

from tasks import showing
from tasks._desk import application
from tasks._retry import once, patient
from tasks._run import flow_run
from tasks._thread import in_thread
from tidegate.adapters.steps import Step, StepResult, run
from tidegate.domain.release import Evidence, Image, Release
from tidegate.operations import integrate
from tidegate.operations.integrate import Fetched
from tidegate.settings import Settings, settings
from tidegate.spec import Section

log = logging.getLogger(__name__)


def _secrets(ours: Settings) -> tuple[str, ...]:
    known = (ours.git_token, ours.registry_password, ours.digest_key)
    return tuple(s.get_secret_value() for s in known if s)


@asynccontextmanager
async def _runner(name: str) -> AsyncIterator[Callable[[Step], StepResult]]:
    """Runs steps with their output in the log; when the task is stopped, their process groups are killed."""
    stop = threading.Event()

    def go(step: Step) -> StepResult:
        return run(
            step,
            on_line=lambda line: log.info("%s │ %s", name, line),
            secrets=_secrets(settings()),
            cancelled=stop,
        )

    try:
        yield go
    finally:
        stop.set()


async def _until_done(name: str, call: Callable[[Callable[[Step], StepResult]], object]) -> object:
    """`in_thread` waits for the call's end when stopped; the event makes that end come at once."""
    import asyncio

    async with _runner(name) as go:
        work = asyncio.ensure_future(in_thread(call, go))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            pass
    await asyncio.wait({work})
    raise asyncio.CancelledError


@task(task_run_name="fetch {app}", **patient)
async def fetch(app: str, revision: str) -> Fetched:
    """Bring the source mirror up to date and look at the revision."""
    fetched = await in_thread(integrate.fetch, application(app), settings(), revision or None)
    log.info("%s %s: %s", app, fetched.revision[:7], fetched.subject)
    return fetched


@task(task_run_name="is {revision} built?", **patient)
async def known(app: str, revision: str) -> Release | None:
    """The release already on record for a revision."""
    return await in_thread(integrate.known_release, application(app), settings(), revision)


@task(task_run_name="audit: {section.kind}", **once)
async def audit(app: str, section: Section, source: str) -> Evidence:
    """One auditor's answer."""
    found = await _until_done(section.kind, lambda go: integrate.audit(section, Path(source), go))
    return _said(app, found)


@task(task_run_name="test", **once)
async def test(app: str, source: str) -> Evidence | None:
    """The application's own tests."""
    found = await _until_done("test", lambda go: integrate.test(application(app), Path(source), go))
    return _said(app, found) if found else None


@task(task_run_name="build", **patient)
async def build(app: str, source: str, fetched: Fetched) -> Image:
    """Build and publish the image; a tree built before is only looked up."""
    made = await _until_done("build", lambda go: integrate.build(application(app), Path(source), fetched, go))
    assert isinstance(made, Image)
    log.info("%s: %s", app, made)
    return made


def _said(app: str, found: object) -> Evidence:
    assert isinstance(found, Evidence)
    level = logging.INFO if found.passed else logging.ERROR
    log.log(level, "%s: %s %s", app, found.step, found.message)
    return found


@task(task_run_name="record release", **patient)
async def record_release(app: str, fetched: Fetched, image: Image, evidence: list[Evidence]) -> Release:
    """Put the release on record and show it."""
    made = await in_thread(
        integrate.record_release, application(app), settings(), fetched, image, evidence, flow_run()
    )
    rows = [(e.step, e.passed, e.message) for e in evidence]
    await showing.evidence(app, fetched.revision, [*rows, ("build", True, f"`{image}`")])
    return made


@task(task_run_name="record refusal", **patient)
async def record_refusal(app: str, fetched: Fetched, evidence: list[Evidence]) -> str:
    """Put on record that the revision is no release, and why."""
    rows = [(e.step, e.passed, e.message) for e in evidence]
    await showing.evidence(app, fetched.revision, rows)
    return await in_thread(
        integrate.record_refusal, application(app), settings(), fetched, evidence, flow_run()
    )
