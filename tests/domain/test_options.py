"""What annotations ask of a sync, and the steps that come of it."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.domain.manifests import Ref, read
from tidegate.domain.options import DeletePolicy, Phase, asks_to_stay, options, split
from tidegate.domain.schedule import Hooks, pruning, steps
from tidegate.errors import SpecError

ARGO, OWN, HELM = "argocd.argoproj.io/", "tidegate.dev/", "helm.sh/"
BEFORE, SUCCEEDED, FAILED = DeletePolicy


def thing(name: str = "a", kind: str = "ConfigMap", **notes: str) -> dict[str, Any]:
    api = {"ConfigMap": "v1", "Namespace": "v1", "Job": "batch/v1", "Deployment": "apps/v1"}.get(
        kind, "x.io/v1"
    )
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "annotations": notes}}


@pytest.mark.parametrize(
    ("notes", "phases", "wave"),
    [
        ({}, (), 0),
        ({ARGO + "hook": "PreSync"}, (Phase.PreSync,), 0),
        ({ARGO + "hook": "PostSync, PreSync"}, (Phase.PreSync, Phase.PostSync), 0),
        ({OWN + "hook": "SyncFail", ARGO + "hook": "PreSync"}, (Phase.SyncFail,), 0),
        ({ARGO + "hook": "Sync", HELM + "hook": "pre-install"}, (Phase.Sync,), 0),
        ({HELM + "hook": "pre-install,pre-upgrade"}, (Phase.PreSync,), 0),
        ({HELM + "hook": "post-upgrade", HELM + "hook-weight": "-3"}, (Phase.PostSync,), -3),
        ({HELM + "hook": "crd-install"}, (), 0),
        ({ARGO + "sync-wave": "-5", HELM + "hook-weight": "3"}, (), -5),
        ({ARGO + "sync-wave": "soon"}, (), 0),
    ],
)
def test_phases_and_waves_are_read_as_argo_cd_reads_them(
    notes: dict[str, str], phases: tuple[Phase, ...], wave: int
) -> None:
    asked = options(thing(**notes))
    assert (asked.phases, asked.is_hook, asked.wave) == (phases, bool(phases), wave)


@pytest.mark.parametrize(
    "notes", [{ARGO + "hook": "Later"}, {HELM + "hook": "test"}, {HELM + "hook": "pre-delete"}]
)
def test_a_hook_of_an_unknown_phase_never_runs_and_is_not_applied(notes: dict[str, str]) -> None:
    hook = thing(**notes)
    assert split([hook]) == ([], [hook])
    assert Hooks("s", (hook,)).runs() == ()


def test_skip_alone_leaves_an_object_out_and_beside_another_phase_says_nothing() -> None:
    assert split([thing(**{ARGO + "hook": "Skip"})]) == ([], [])
    assert options(thing(**{ARGO + "hook": "Skip,PreSync"})).phases == (Phase.PreSync,)


@pytest.mark.parametrize(
    ("notes", "policies"),
    [
        ({}, {BEFORE}),
        ({ARGO + "hook-delete-policy": "HookSucceeded"}, {SUCCEEDED}),
        ({ARGO + "hook-delete-policy": "HookSucceeded, HookFailed"}, {SUCCEEDED, FAILED}),
        ({HELM + "hook-delete-policy": "before-hook-creation,hook-succeeded"}, {BEFORE, SUCCEEDED}),
        ({ARGO + "hook-delete-policy": "Sometimes"}, {BEFORE}),
    ],
)
def test_a_hook_without_a_valid_policy_goes_before_its_next_run(
    notes: dict[str, str], policies: set[DeletePolicy]
) -> None:
    assert options(thing(**{ARGO + "hook": "PreSync", **notes})).delete == policies


def test_an_object_can_ask_to_stay_until_a_person_lets_it_go() -> None:
    notes = {ARGO + "sync-options": "Prune=confirm,PruneLast=true"}
    assert "tidegate.dev/prune=confirmed" in asks_to_stay(notes)
    assert not asks_to_stay({**notes, OWN + "prune": "confirmed"})
    assert asks_to_stay({ARGO + "sync-options": "Prune=false"})


def test_definitions_come_first_then_hooks_and_waves_in_their_order() -> None:
    wave = ARGO + "sync-wave"
    kept = [
        thing("late", **{wave: "10"}),
        thing("web", "Deployment"),
        thing("conf"),
        thing("early", **{wave: "-5"}),
        thing("shop", "Namespace", **{wave: "7"}),
        thing("fast", "ServiceClass"),
    ]
    hooks = [
        thing("after", "Job", **{ARGO + "hook": "PostSync"}),
        thing("before", "Job", **{ARGO + "hook": "PreSync", wave: "-1"}),
        thing("within", "Job", **{ARGO + "hook": "Sync", wave: "-5"}),
        thing("alarm", "Job", **{ARGO + "hook": "SyncFail"}),
    ]
    found = [(s.name, [n.name for n, _ in s.items]) for s in steps(kept, Hooks("s", tuple(hooks)).runs())]
    assert found == [
        ("definitions", ["shop"]),
        ("classes", ["fast"]),
        ("PreSync wave -1", ["before"]),
        ("wave -5", ["early", "within"]),
        ("wave 0", ["conf", "web"]),
        ("wave 10", ["late"]),
        ("PostSync", ["after"]),
        ("SyncFail", ["alarm"]),
    ]


def test_pruning_goes_from_the_last_wave_to_the_first_and_ends_with_what_asks_to_be_last() -> None:
    wave, last = ARGO + "sync-wave", {ARGO + "sync-options": "PruneLast=true"}
    unwanted = [
        thing("first", **{wave: "-1"}),
        thing("conf"),
        thing("web", "Deployment"),
        thing("top", **{wave: "3"}),
        thing("end", **last, **{wave: "3"}),
    ]
    found = pruning((m, m["metadata"]["name"]) for m in unwanted)
    assert found == [[["top"]], [["web"], ["conf"]], [["first"]], [["end"]]]


def test_a_hook_without_a_name_gets_one_that_changes_with_what_it_does() -> None:
    def named(image: str) -> Ref:
        text = (
            "{apiVersion: batch/v1, kind: Job, metadata: {generateName: Migrate-, annotations: "
            f"{{argocd.argoproj.io/hook: PreSync}}}}, spec: {{image: {image}}}}}"
        )
        [job] = read(text.encode(), "job.yaml")
        return Ref("batch", "Job", "", job["metadata"]["name"])

    assert named("one") == named("one") != named("two")
    assert named("one").name.startswith("migrate-")


def test_what_is_no_hook_needs_a_name() -> None:
    with pytest.raises(SpecError, match="generateName cannot be applied twice; give the object a name"):
        read(b"{apiVersion: v1, kind: ConfigMap, metadata: {generateName: a-}}", "conf.yaml")
