"""What is registered with Prefect, as far as files alone can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments import apply
from tidegate.errors import SpecError

FLOWS = {"git-sync", "pipeline", "integrate", "deliver", "deploy", "promote", "rollback", "approve", "plan"}


def test_every_entrypoint_loads_and_every_flow_is_registered() -> None:
    wanted = apply.read_deployments()
    assert {w.flow.name for w in wanted} == FLOWS
    assert len({(w.flow.name, w.name) for w in wanted}) == len(wanted)


def test_automations_name_deployments_that_exist_and_have_names_of_their_own() -> None:
    there = {f"{w.flow.name}/{w.name}" for w in apply.read_deployments()}
    entries = apply.read_automations()
    named = {a["deployment"] for e in entries for a in e["actions"] if "deployment" in a}
    assert named <= there
    assert len({e["name"] for e in entries}) == len(entries)


def test_a_parameter_that_the_flow_lacks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text(
        "pull: []\ndeployments:\n- name: x\n  entrypoint: flows.plan.plan\n  parameters: {aap: shop}\n"
    )
    with pytest.raises(SpecError, match="plan has no parameter 'aap'"):
        apply.read_deployments(path)


def test_an_entrypoint_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text("deployments:\n- {name: x, entrypoint: flows.nowhere.plan}\n")
    with pytest.raises(SpecError, match=r"flows\.nowhere\.plan does not load"):
        apply.read_deployments(path)


def test_a_variable_of_the_environment_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text("deployments:\n- {name: x, entrypoint: flows.plan.plan, version: '{{ $TAG }}'}\n")
    with pytest.raises(SpecError, match=r"\$TAG"):
        apply.read_deployments(path)
