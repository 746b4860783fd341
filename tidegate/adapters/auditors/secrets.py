"""`detect-secrets`: credentials in the source. The evidence says where and of which type, never which."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tidegate.adapters.auditors._findings import Finding, Run, ask, evidence, relative
from tidegate.adapters.patterns import expression
from tidegate.domain.release import Evidence
from tidegate.errors import Refused
from tidegate.spec import Duration


class Settings(BaseModel):
    """`audit: [{kind: secrets, baseline: .secrets.baseline}]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: str | None = None
    """File in the source with the findings that are known (`detect-secrets scan > FILE`); others fail."""
    exclude: tuple[str, ...] = ()
    """Globs of paths not to look at, like `tests/**`."""
    disable: tuple[str, ...] = ()
    """Detectors to leave out, like `HexHighEntropyString`."""
    timeout: Duration = timedelta(minutes=5)


class Secrets:
    """The auditor of kind `secrets`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def audit(self, source: Path, run: Run) -> Evidence:
        """Passes when there is no secret but those of the baseline. Nothing is verified over the network."""
        known = self._known(source)
        report = ask("secrets", self._arguments(), source, run, self._settings.timeout, {0})
        found = [
            Finding(relative(str(file), source), int(entry["line_number"]), str(entry["type"]))
            for file, entries in (report.data or {}).get("results", {}).items()
            for entry in entries
            if (str(file), entry["type"], entry["hashed_secret"]) not in known
        ]
        return evidence("secrets", report, found, noun="secret")

    def _arguments(self) -> list[str]:
        baseline = [self._settings.baseline] if self._settings.baseline else []
        arguments = ["detect_secrets", "scan", "--all-files", "--no-verify"]
        for glob in (".git", *self._settings.exclude, *baseline):
            arguments += ["--exclude-files", rf"\A(?:\./)?{expression(glob)}\Z"]
        for detector in self._settings.disable:
            arguments += ["--disable-plugin", detector]
        return [*arguments, "."]

    def _known(self, source: Path) -> set[tuple[str, str, str]]:
        """File, type and hash of the baseline's findings; its plug-ins and filters are not loaded."""
        if self._settings.baseline is None:
            return set()
        file = source / self._settings.baseline
        try:
            results: dict[str, list[dict[str, Any]]] = json.loads(file.read_bytes())["results"]
            return {
                (name, e["type"], e["hashed_secret"]) for name, entries in results.items() for e in entries
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(
                f"secrets: baseline '{self._settings.baseline}' cannot be read ({type(error).__name__}); "
                "make it with: detect-secrets scan > .secrets.baseline"
            ) from error


def build(settings: Settings) -> Secrets:
    """The auditor for checked settings."""
    return Secrets(settings)
