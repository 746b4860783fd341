"""Runs the project's tests and says in a sentence how they went; reads JUnit XML when there is some."""

from __future__ import annotations

import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.adapters.steps import Step, StepResult
from tidegate.domain.release import Evidence
from tidegate.errors import OutsideError, Refused
from tidegate.spec import Test

JUNIT_LIMIT = 32 * 1024 * 1024
_SHOWN = 10
_TEXT = 200


@dataclass(frozen=True, slots=True)
class Report:
    """A JUnit report in numbers, and the first line of every failure."""

    total: int
    failed: int
    """Failures and errors."""
    skipped: int
    failures: tuple[str, ...]
    """`name: message`, the first few, bounded."""

    @property
    def passed(self) -> int:
        """Tests that ran and were well."""
        return self.total - self.failed - self.skipped

    @property
    def sentence(self) -> str:
        """`12 passed, 1 failed: test_x: assert 1 == 2`."""
        counts = ((self.passed, "passed"), (self.failed, "failed"), (self.skipped, "skipped"))
        said = ", ".join(f"{number} {word}" for number, word in counts if number or word == "passed")
        return f"{said}: {self.failures[0]}" if self.failures else said


def run_tests(test: Test, source: Path, run: Callable[[Step], StepResult]) -> Evidence:
    """Runs the command in a copy of the source. Passes when it exits 0 and its report, if asked for, agrees.

    A copy, because what tests write (caches, bytecode, reports) must not get into the image that is built
    from the source. `python` and `pytest` are those of our own environment: its folder is first on PATH.
    Raises `OutsideError` when the run was cancelled (that says nothing about the source) and `Refused` for
    a `junit` path out of the source.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-tests-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "source")
        shutil.copytree(source, copy, symlinks=True)
        file = _report_path(test, copy)
        result = run(Step("tests", test.run, copy, test.env, test.timeout, test.memory))
        if result.reason == "cancelled":
            raise OutsideError("tests: cancelled before they had an answer")
        return _evidence(test, result, file)


def _evidence(test: Test, result: StepResult, file: Path | None) -> Evidence:
    details: dict[str, object] = {"seconds": round(result.seconds, 1), "code": result.code}
    if file is None:
        return Evidence("tests", result.passed, _plain(result), details)
    try:
        report = read_junit(file)
    except ValueError as error:
        return Evidence("tests", False, f"{_plain(result)}; report '{test.junit}' {error}", details)
    details |= {"passed": report.passed, "failed": report.failed, "skipped": report.skipped}
    details["failures"] = list(report.failures)
    passed = result.passed and report.failed == 0 and report.passed > 0
    explained = result.passed or (result.code == 1 and report.failed)
    ended = "" if explained else f" ({result.reason})"
    return Evidence("tests", passed, f"{report.sentence}{ended}", details)


def _report_path(test: Test, source: Path) -> Path | None:
    """Where the report will be; one from an earlier run is removed, it would be no evidence."""
    if test.junit is None:
        return None
    file = source / test.junit
    if not Path(os.path.normpath(file)).is_relative_to(os.path.normpath(source)):
        raise Refused(f"tests: report '{test.junit}' is not below the source; name a path in it")
    file.unlink(missing_ok=True)
    return file


def _plain(result: StepResult) -> str:
    """How it ended, and on failure its last words."""
    words = [line.strip() for line in result.tail.splitlines() if line.strip()]
    last = words[-1][:_TEXT] if words else ""
    if result.passed:
        return last.strip("= ") or "passed"
    return f"{result.reason}: {last.strip('= ')}" if last else result.reason


def read_junit(file: Path) -> Report:
    """Counts and failures of a JUnit XML file, whatever tool wrote it; `ValueError` says what is wrong."""
    cases = list(_parse(_content(file)).iter("testcase"))
    failures = list(_failures(cases))
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    return Report(len(cases), len(failures), skipped, tuple(failures[:_SHOWN]))


def _content(file: Path) -> bytes:
    try:
        if file.is_symlink() or not file.is_file():
            raise ValueError("was not written")
        if file.stat().st_size > JUNIT_LIMIT:
            raise ValueError(f"is larger than {JUNIT_LIMIT >> 20} MiB")
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _parse(content: bytes) -> ET.Element:
    """The root element. Test code wrote this file: no DOCTYPE, so no entities and nothing that expands."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:64]:
        raise ValueError("is not UTF-8")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("has a DOCTYPE, which no test report needs")
    try:
        return ET.fromstring(content)  # noqa: S314
    except ET.ParseError as error:
        raise ValueError(f"is not XML: {error}") from error


def _failures(cases: list[ET.Element]) -> Iterator[str]:
    for case in cases:
        found = next((child for child in case if child.tag in ("failure", "error")), None)
        if found is not None:
            lines = (found.get("message") or found.text or "").strip().splitlines()
            message = lines[0].strip()[:_TEXT] if lines else found.tag
            yield f"{case.get('name', 'a test')[:_TEXT]}: {message}"
