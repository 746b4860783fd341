"""`bandit`: security mistakes in Python source (SAST)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tidegate.adapters.auditors._findings import Finding, Run, ask, evidence, relative
from tidegate.domain.release import Evidence
from tidegate.spec import Duration

Level = Literal["low", "medium", "high"]
_ORDER = ("UNDEFINED", "LOW", "MEDIUM", "HIGH")
_EXCLUDED = (".svn", "CVS", ".bzr", ".hg", ".git", "__pycache__", ".tox", ".eggs", "*.egg", ".venv")
"""Bandit's own defaults, which its option would replace, and `.venv`."""


class Settings(BaseModel):
    """`audit: [{kind: bandit, severity: high}]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: Level = "medium"
    """Findings below do not fail."""
    confidence: Level = "medium"
    """Findings bandit is less sure of do not fail."""
    skip: tuple[str, ...] = ()
    """Ids of tests to leave out, like `B101`."""
    exclude: tuple[str, ...] = ()
    """Paths or globs, as bandit reads them."""
    timeout: Duration = timedelta(minutes=5)


class Bandit:
    """The auditor of kind `bandit`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def audit(self, source: Path, run: Run) -> Evidence:
        """Passes when nothing at or above both levels is found and every file could be read."""
        report = ask("bandit", self._arguments(source), source, run, self._settings.timeout, {0})
        data: dict[str, Any] = report.data or {}
        findings = [_finding(entry, source) for entry in data.get("results", ()) if self._counts(entry)]
        unread = [relative(str(entry["filename"]), source) for entry in data.get("errors", ())]
        return evidence("bandit", report, findings, unread)

    def _counts(self, entry: dict[str, Any]) -> bool:
        severe = _ORDER.index(entry["issue_severity"]) >= _ORDER.index(self._settings.severity.upper())
        sure = _ORDER.index(entry["issue_confidence"]) >= _ORDER.index(self._settings.confidence.upper())
        return severe and sure

    def _arguments(self, source: Path) -> list[str]:
        excluded = ",".join((*_EXCLUDED, *self._settings.exclude))
        arguments = ["bandit", "-r", ".", "-f", "json", "-q", "--exit-zero", "-x", excluded]
        if self._settings.skip:
            arguments += ["-s", ",".join(self._settings.skip)]
        project = source / "pyproject.toml"
        if project.is_file() and b"[tool.bandit" in project.read_bytes():
            arguments += ["-c", "pyproject.toml"]
        return arguments


def _finding(entry: dict[str, Any], source: Path) -> Finding:
    # the rule's name and not its text, which quotes the password that it found
    rule = f"{entry['test_id']} {entry['test_name']}"
    return Finding(relative(str(entry["filename"]), source), int(entry["line_number"]), rule)


def build(settings: Settings) -> Bandit:
    """The auditor for checked settings."""
    return Bandit(settings)
