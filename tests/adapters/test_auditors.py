"""What auditors find, how they say it, and that they never repeat a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tidegate.adapters.auditors import bandit, ruff, secrets
from tidegate.adapters.steps import Step, StepResult
from tidegate.adapters.steps import run as run_step
from tidegate.errors import OutsideError, Refused
from tidegate.plugins import kinds
from tidegate.plugins import module as plugin

PASSWORD = "hunter2-Tr0ub4dor"
KEY = "AKIA" + "IOSFODNN7EXAMPLQ"
CLEAN = 'def greet(name: str) -> str:\n    return f"hello {name}"\n'
SHELL = "import subprocess\n\n\ndef run(text):\n    subprocess.call(text, shell=True)\n"
AUDITORS = ("bandit", "ruff", "secrets")


class Watched:
    """Runs steps and keeps what they print."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> StepResult:
        self.steps.append(step)
        return run_step(step, on_line=self.lines.append)


@pytest.fixture
def run() -> Watched:
    return Watched()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    (root / "app.py").write_text(CLEAN)
    return root


def auditor(kind: str, **settings: object) -> ruff.Ruff | bandit.Bandit | secrets.Secrets:
    module = plugin("auditors", kind)
    built: ruff.Ruff | bandit.Bandit | secrets.Secrets = module.build(
        module.Settings.model_validate(settings)
    )
    return built


def test_there_are_three_auditors() -> None:
    assert set(AUDITORS) <= set(kinds("auditors"))
    assert not [kind for kind in kinds("auditors") if kind.startswith("_")]


@pytest.mark.parametrize("kind", AUDITORS)
def test_clean_source_passes_in_a_sentence(kind: str, source: Path, run: Watched) -> None:
    found = auditor(kind).audit(source, run)
    noun = "secrets" if kind == "secrets" else "findings"
    assert (found.step, found.passed, found.message) == (kind, True, f"no {noun}")


@pytest.mark.parametrize("kind", AUDITORS)
def test_source_without_python_is_no_problem(kind: str, source: Path, run: Watched) -> None:
    (source / "app.py").unlink()
    (source / "main.go").write_text("package main\n")
    assert auditor(kind).audit(source, run).passed


@pytest.mark.parametrize("kind", AUDITORS)
def test_unknown_settings_are_errors(kind: str) -> None:
    with pytest.raises(ValidationError):
        auditor(kind, sevrity="high")


@pytest.mark.parametrize("kind", AUDITORS)
def test_the_source_is_not_changed(kind: str, source: Path, run: Watched) -> None:
    (source / "app.py").write_text("import os\n" + SHELL)
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    auditor(kind).audit(source, run)
    assert {p: p.read_bytes() for p in source.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("kind", AUDITORS)
def test_a_module_of_the_tools_name_in_the_source_is_not_run(kind: str, source: Path, run: Watched) -> None:
    tool = {"secrets": "detect_secrets"}.get(kind, kind)
    (source / f"{tool}.py").write_text('open("owned", "w").close()\n')
    auditor(kind).audit(source, run)
    assert not (source / "owned").exists()


@pytest.mark.parametrize("kind", AUDITORS)
def test_a_planted_secret_is_in_no_evidence_and_no_output(kind: str, source: Path, run: Watched) -> None:
    (source / "app.py").write_text(
        f'password = "{PASSWORD}"\nAWS_KEY = "{KEY}"\n\n\ndef log_in(token="{PASSWORD}"):\n'
        f'    return token == "{PASSWORD}" or "{PASSWORD}" is token\n'
    )
    (source / "pyproject.toml").write_text('[tool.ruff.lint]\nselect = ["ALL"]\n')
    found = auditor(kind, **({"severity": "low"} if kind == "bandit" else {})).audit(source, run)
    assert not found.passed
    text = f"{found.message} {json.dumps(found.details)} {run.lines}"
    assert PASSWORD not in text
    assert KEY not in text
    assert "app.py:" in found.message


@pytest.mark.parametrize("kind", AUDITORS)
def test_a_step_that_was_cancelled_is_no_evidence(kind: str, source: Path) -> None:
    with pytest.raises(OutsideError, match="cancelled"):
        auditor(kind).audit(source, lambda step: StepResult(-15, "cancelled", "", 0.1))


@pytest.mark.parametrize("kind", AUDITORS)
@pytest.mark.parametrize("reason", ["timed out after 5m", "killed: memory (limit 2Gi)", "exit 7"])
def test_a_tool_that_gave_no_answer_never_passes(kind: str, reason: str, source: Path) -> None:
    found = auditor(kind).audit(source, lambda step: StepResult(7, reason, "some words\nlast words", 0.1))
    assert not found.passed
    assert found.message == f"could not look: {reason}: last words"


@pytest.mark.parametrize("kind", AUDITORS)
@pytest.mark.parametrize("written", ["", "{", "null"])
def test_a_report_that_is_none_never_passes(kind: str, written: str, source: Path) -> None:
    def claim(step: Step) -> StepResult:
        assert step.stdout is not None
        step.stdout.write_text(written)
        return StepResult(0, "exit 0", "", 0.1)

    found = auditor(kind).audit(source, claim)
    assert not found.passed
    assert "report" in found.message


def test_ruff_names_place_and_rule(source: Path, run: Watched) -> None:
    (source / "pkg").mkdir()
    (source / "pkg" / "a.py").write_text("import os\n")
    (source / "pkg" / "b.py").write_text("import sys\nimport os\n")
    found = auditor("ruff", select=["F"]).audit(source, run)
    assert found.message == "3 findings in 2 files, first pkg/a.py:1: F401 unused-import"
    assert found.details["findings"] == 3


def test_ruff_respects_the_projects_own_configuration(source: Path, run: Watched) -> None:
    (source / "app.py").write_text("import os\n")
    (source / "ruff.toml").write_text('[lint]\nselect = ["E"]\n')
    assert auditor("ruff").audit(source, run).passed


def test_ruff_does_not_take_a_configuration_from_above_the_source(source: Path, run: Watched) -> None:
    (source / "app.py").write_text("import os\n")
    (source.parent / "ruff.toml").write_text('[lint]\nselect = ["E"]\n')
    assert not auditor("ruff", select=["F"]).audit(source, run).passed
    (source.parent / "ruff.toml").write_text("nonsense = [\n")
    assert "could not look" not in auditor("ruff").audit(source, run).message


def test_ruff_says_so_when_the_projects_configuration_is_broken(source: Path, run: Watched) -> None:
    (source / "ruff.toml").write_text("nonsense = [\n")
    found = auditor("ruff").audit(source, run)
    assert not found.passed
    assert found.message.startswith("could not look: exit 2")


def test_a_long_list_of_findings_is_counted_and_bounded(source: Path, run: Watched) -> None:
    (source / "app.py").write_text("".join(f"import m{n}\n" for n in range(500)))
    found = auditor("ruff", select=["F401"]).audit(source, run)
    assert found.details["findings"] == 500
    assert len(found.details["first"]) == 20  # type: ignore[arg-type]


def test_bandit_fails_from_medium_on(source: Path, run: Watched) -> None:
    (source / "app.py").write_text("import subprocess\nassert True\n")
    assert auditor("bandit").audit(source, run).passed
    (source / "app.py").write_text(SHELL)
    found = auditor("bandit").audit(source, run)
    assert found.message == (
        "1 finding in 1 file, first app.py:5: B602 subprocess_popen_with_shell_equals_true"
    )


def test_bandits_levels_skips_and_excludes_are_the_users(source: Path, run: Watched) -> None:
    (source / "app.py").write_text("import subprocess\n")
    assert not auditor("bandit", severity="low").audit(source, run).passed
    assert auditor("bandit", severity="low", skip=["B404"]).audit(source, run).passed
    assert auditor("bandit", severity="low", exclude=["./app.py"]).audit(source, run).passed
    (source / "pyproject.toml").write_text('[tool.bandit]\nskips = ["B404"]\n')
    assert auditor("bandit", severity="low").audit(source, run).passed


def test_a_file_bandit_cannot_read_does_not_pass(source: Path, run: Watched) -> None:
    (source / "broken.py").write_text("def (\n")
    found = auditor("bandit").audit(source, run)
    assert (found.passed, found.message) == (False, "could not read 1 file, first broken.py")


def test_secrets_are_told_by_place_and_type(source: Path, run: Watched) -> None:
    (source / "conf").mkdir()
    (source / "conf" / "prod.env").write_text(f"X=1\nAWS={KEY}\n")
    found = auditor("secrets").audit(source, run)
    assert found.message == "1 secret in 1 file, first conf/prod.env:2: AWS Access Key"


def test_secrets_of_the_baseline_are_known_and_new_ones_are_not(source: Path, run: Watched) -> None:
    (source / "conf.env").write_text(f"AWS={KEY}\n")
    argv = [sys.executable, "-m", "detect_secrets", "scan", "--all-files", "--no-verify", "."]
    baseline = subprocess.run(argv, cwd=source, capture_output=True, check=True).stdout
    (source / ".secrets.baseline").write_bytes(baseline)
    assert auditor("secrets", baseline=".secrets.baseline").audit(source, run).passed
    (source / "conf.env").write_text(f"AWS={KEY}\nOTHER={KEY[:-1]}Z\n")
    found = auditor("secrets", baseline=".secrets.baseline").audit(source, run)
    assert found.message == "1 secret in 1 file, first conf.env:2: AWS Access Key"


@pytest.mark.parametrize("text", [None, "{", "[]", '{"results": 3}', '{"results": {"a": [{}]}}'])
def test_a_baseline_that_cannot_be_read_is_refused(source: Path, run: Watched, text: str | None) -> None:
    if text is not None:
        (source / "known.json").write_text(text)
    with pytest.raises(Refused, match=r"baseline 'known\.json' cannot be read"):
        auditor("secrets", baseline="known.json").audit(source, run)


def test_folders_are_excluded_by_glob(source: Path, run: Watched) -> None:
    (source / "tests" / "deep").mkdir(parents=True)
    (source / "tests" / "deep" / "fixture.env").write_text(f"AWS={KEY}\n")
    assert not auditor("secrets").audit(source, run).passed
    assert auditor("secrets", exclude=["tests/**"]).audit(source, run).passed
    assert auditor("secrets", exclude=["**/*.env"]).audit(source, run).passed
    assert auditor("secrets", disable=["AWSKeyDetector"]).audit(source, run).passed
