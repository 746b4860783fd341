"""`ruff check`: mistakes a linter sees. The project's own configuration is respected, nothing is changed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tidegate.adapters.auditors._findings import Finding, Run, ask, evidence, relative
from tidegate.domain.release import Evidence
from tidegate.spec import Duration

_CONFIGURATIONS = ("pyproject.toml", "ruff.toml", ".ruff.toml")


class Settings(BaseModel):
    """`audit: [{kind: ruff, select: [E, F]}]`; by default what the project configured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    select: tuple[str, ...] = ()
    """Rules instead of the configured ones."""
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Paths (ruff's globs) besides the configured ones."""
    timeout: Duration = timedelta(minutes=5)


class Ruff:
    """The auditor of kind `ruff`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def audit(self, source: Path, run: Run) -> Evidence:
        """Passes when ruff finds nothing."""
        report = ask("ruff", self._arguments(source), source, run, self._settings.timeout, {0, 1})
        return evidence("ruff", report, [_finding(entry, source) for entry in report.data or ()])

    def _arguments(self, source: Path) -> list[str]:
        arguments = ["ruff", "check", "--output-format", "json", "--no-cache", "--no-fix", "--quiet"]
        if not any(next(source.rglob(name), None) for name in _CONFIGURATIONS):
            arguments.append("--isolated")  # else a configuration above the source would count
        for option, values in (("--select", self._settings.select), ("--ignore", self._settings.ignore)):
            arguments += [f"{option}={','.join(values)}"] if values else []
        arguments += [f"--extend-exclude={glob}" for glob in self._settings.exclude]
        return [*arguments, "."]


def _finding(entry: dict[str, object], source: Path) -> Finding:
    location = entry.get("location")
    line = int(location.get("row", 0)) if isinstance(location, dict) else 0
    rule = " ".join(dict.fromkeys(str(entry[key]) for key in ("code", "name") if entry.get(key)))
    return Finding(relative(str(entry["filename"]), source), line, rule or "invalid-syntax")


def build(settings: Settings) -> Ruff:
    """The auditor for checked settings."""
    return Ruff(settings)
