"""The project's tests as evidence: exit code and JUnit report must agree, and nothing in a report is trusted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tidegate.adapters.steps import Step, StepResult
from tidegate.adapters.steps import run as run_step
from tidegate.adapters.testing import read_junit, run_tests
from tidegate.domain.release import Evidence
from tidegate.errors import OutsideError, Refused
from tidegate.spec import Test

PYTEST = ("pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml", "-W", "ignore")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    return root


def run(step: Step) -> StepResult:
    return run_step(step)


def outcome(source: Path, text: str, **more: object) -> Evidence:
    (source / "test_it.py").write_text(text)
    fields = {"run": PYTEST, "junit": "junit.xml", **more}
    return run_tests(Test.model_validate(fields), source, run)


def written(source: Path, xml: str, code: int = 0) -> Evidence:
    """A test command that leaves this report."""
    (source / "report").write_text(xml)
    command = ("sh", "-c", f"cp report junit.xml; exit {code}")
    return run_tests(Test(run=command, junit="junit.xml"), source, run)


def test_passing_tests_are_counted(source: Path) -> None:
    found = outcome(
        source, "import pytest\ndef test_a(): pass\ndef test_b(): pass\ndef test_c(): pytest.skip('later')\n"
    )
    assert (found.step, found.passed, found.message) == ("tests", True, "2 passed, 1 skipped")


def test_the_first_failure_is_in_the_sentence(source: Path) -> None:
    found = outcome(source, "def test_a(): pass\ndef test_x(): assert 1 == 2\n")
    assert (found.passed, found.message) == (False, "1 passed, 1 failed: test_x: assert 1 == 2")
    assert found.details["failures"] == ["test_x: assert 1 == 2"]


def test_tests_do_not_write_into_the_source(source: Path) -> None:
    outcome(source, "def test_a(): open('left', 'w').close()\n")
    assert [p.name for p in source.iterdir()] == ["test_it.py"]


def test_no_test_at_all_does_not_pass(source: Path) -> None:
    assert not outcome(source, "").passed
    assert not written(source, "<testsuites/>").passed
    assert not written(source, "<testsuite><testcase name='a'><skipped/></testcase></testsuite>").passed


def test_without_a_report_the_exit_code_and_the_last_words_count(source: Path) -> None:
    good = run_tests(Test(run=("sh", "-c", "echo 'ok 12 tests'")), source, run)
    assert (good.passed, good.message) == (True, "ok 12 tests")
    bad = run_tests(Test(run=("sh", "-c", "echo 'not ok'; exit 2")), source, run)
    assert (bad.passed, bad.message) == (False, "exit 2: not ok")


def test_a_green_report_does_not_outweigh_a_red_exit(source: Path) -> None:
    found = written(source, "<testsuite><testcase name='a'/></testsuite>", code=3)
    assert (found.passed, found.message) == (False, "1 passed (exit 3)")


def test_a_green_exit_does_not_outweigh_a_red_report(source: Path) -> None:
    found = written(source, "<testsuite><testcase name='a'><error message='boom'/></testcase></testsuite>")
    assert (found.passed, found.message) == (False, "0 passed, 1 failed: a: boom")


def test_a_report_of_an_earlier_run_is_no_evidence(source: Path) -> None:
    (source / "junit.xml").write_text("<testsuite><testcase name='a'/></testsuite>")
    found = run_tests(Test(run=("true",), junit="junit.xml"), source, run)
    assert (found.passed, found.message) == (False, "passed; report 'junit.xml' was not written")


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite><testcase name='&a;'/></testsuite>", "has a DOCTYPE"),
        ("<testsuite><testcase>", "is not XML"),
        ("not xml", "is not XML"),
        ("", "is not XML"),
    ],
)
def test_a_hostile_or_broken_report_does_not_pass(source: Path, xml: str, why: str) -> None:
    found = written(source, xml)
    assert not found.passed
    assert why in found.message


def test_a_report_in_another_encoding_cannot_hide_a_doctype(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "r.xml").write_bytes("<!DOCTYPE x><testsuite/>".encode(encoding))
        with pytest.raises(ValueError, match="is not UTF-8"):
            read_junit(tmp_path / "r.xml")


def test_a_report_that_is_a_link_is_not_read(source: Path, tmp_path: Path) -> None:
    (tmp_path / "other.xml").write_text("<testsuite><testcase name='a'/></testsuite>")
    command = ("ln", "-s", str(tmp_path / "other.xml"), "junit.xml")
    assert not run_tests(Test(run=command, junit="junit.xml"), source, run).passed


def test_a_huge_report_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.adapters.testing.JUNIT_LIMIT", 1 << 20)
    (tmp_path / "r.xml").write_text("<testsuite>" + " " * (1 << 20) + "</testsuite>")
    with pytest.raises(ValueError, match="is larger than 1 MiB"):
        read_junit(tmp_path / "r.xml")


def test_a_deeply_nested_report_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    assert read_junit(tmp_path / "r.xml").total == 0


def test_many_and_long_failures_are_bounded(source: Path) -> None:
    cases = "".join(f"<testcase name='t{n}'><failure message='{'x' * 5000}'/></testcase>" for n in range(300))
    found = written(source, f"<testsuite>{cases}</testsuite>", code=1)
    assert found.details["failed"] == 300
    assert len(str(found.details)) < 5000
    assert len(found.message) < 400


def test_a_report_out_of_the_source_is_refused(source: Path) -> None:
    for path in ("../junit.xml", "/etc/passwd", "a/../../x"):
        with pytest.raises(Refused, match="is not below the source"):
            run_tests(Test(run=("true",), junit=path), source, run)


def test_tests_that_hang_are_ended_and_say_so(source: Path) -> None:
    hanging = Test(run=("sh", "-c", "echo started; sleep 600"), timeout=timedelta(seconds=1))
    found = run_tests(hanging, source, run)
    assert (found.passed, found.message) == (False, "timed out after 1s: started")


def test_a_cancelled_run_is_no_evidence(source: Path) -> None:
    with pytest.raises(OutsideError, match="cancelled"):
        run_tests(Test(run=("true",)), source, lambda step: StepResult(-15, "cancelled", "", 0.1))


def test_settings_of_the_spec_reach_the_command(source: Path) -> None:
    told: list[Step] = []

    def look(step: Step) -> StepResult:
        told.append(step)
        return StepResult(0, "exit 0", "", 0.1)

    test = Test.model_validate(
        {"run": ["make", "test"], "timeout": "90s", "memory": "1Gi", "env": {"A": "b"}}
    )
    run_tests(test, source, look)
    step = told[0]
    assert (step.argv, step.timeout, step.memory) == (("make", "test"), timedelta(seconds=90), "1Gi")
    assert dict(step.env) == {"A": "b"}
