"""What all auditors share: the tool runs as a step, its findings become one sentence and a bounded list.

A finding is a place and the name of a rule, never text of the source or of the tool's message: both may
quote the very secret that was found.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tidegate.adapters.steps import Step, StepResult
from tidegate.domain.release import Evidence
from tidegate.errors import OutsideError

SHOWN = 20
"""Findings listed in the evidence; all are counted."""
_REPORT_LIMIT = 64 * 1024 * 1024
Run = Callable[[Step], StepResult]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`file:line: rule`, the file relative to the source."""

    file: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a tool wrote: its JSON, or the sentence why there is none."""

    data: Any
    problem: str = ""
    seconds: float = 0.0


def ask(
    name: str, arguments: Sequence[str], source: Path, run: Run, timeout: timedelta, codes: set[int]
) -> Report:
    """Runs a tool of our own environment as a module and reads its JSON; any other exit code is a problem.

    `-I` keeps the source off the module path: a `bandit.py` in it is not what we want to run. Raises
    `OutsideError` when the step was cancelled: that says nothing about the source.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-audit-") as folder:
        file = Path(folder, "report.json")
        argv = (sys.executable, "-I", "-m", *arguments)
        result = run(Step(name, argv, source, timeout=timeout, stdout=file))
        if result.reason == "cancelled":
            raise OutsideError(f"{name}: cancelled before it had an answer")
        if result.code not in codes or result.reason != f"exit {result.code}":
            said = result.tail.strip().rpartition("\n")[2][:300]
            problem = f"could not look: {result.reason}{': ' if said else ''}{said}"
            return Report(None, problem, result.seconds)
        return _read(file, result.seconds)


def _read(file: Path, seconds: float) -> Report:
    try:
        if file.stat().st_size > _REPORT_LIMIT:
            too_much = f"found more than a report of {_REPORT_LIMIT >> 20} MiB holds; exclude generated files"
            return Report(None, too_much, seconds)
        data = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        return Report(None, f"wrote a report that cannot be read: {type(error).__name__}", seconds)
    if isinstance(data, list) or (isinstance(data, dict) and "results" in data):
        return Report(data, "", seconds)
    return Report(None, "wrote a report that has no results", seconds)


def evidence(
    name: str,
    report: Report,
    findings: Sequence[Finding] = (),
    unread: Sequence[str] = (),
    noun: str = "finding",
) -> Evidence:
    """The auditor's answer. Files it could not read are no evidence, so they fail it, too."""
    if report.problem:
        return Evidence(name, False, report.problem, {"seconds": round(report.seconds, 1)})
    ordered = sorted(findings)
    details = {
        "findings": len(ordered),
        "files": len({f.file for f in ordered}),
        "first": [str(f) for f in ordered[:SHOWN]],
        "unread": list(unread[:SHOWN]),
        "seconds": round(report.seconds, 1),
    }
    said = [_sentence(ordered, noun)] if ordered or not unread else []
    if unread:
        said.append(f"could not read {_count(len(unread), 'file')}, first {unread[0]}")
    return Evidence(name, not ordered and not unread, "; ".join(said), details)


def _sentence(findings: Sequence[Finding], noun: str) -> str:
    if not findings:
        return f"no {noun}s"
    where = _count(len({f.file for f in findings}), "file")
    return f"{_count(len(findings), noun)} in {where}, first {findings[0]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def relative(path: str, source: Path) -> str:
    """A tool's path as a path below the source."""
    file = Path(path)
    for root in (source, source.resolve()):
        if file.is_absolute() and file.is_relative_to(root):
            return file.relative_to(root).as_posix()
    return file.as_posix()
