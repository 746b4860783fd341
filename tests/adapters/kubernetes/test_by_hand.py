"""What people do with kubectl, before us and after us: taken over without losing values, undone where Git is silent."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes import Ignore, Settings, build
from tidegate.adapters.targets.kubernetes.rest import Request
from tidegate.domain import fields
from tidegate.domain.ignoring import as_it_is
from tidegate.domain.manifests import Manifest, ref
from tidegate.domain.plan import Action
from tidegate.errors import Refused

STRATEGIC = "application/strategic-merge-patch+json"


def config(**data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": data})


def deployment(*containers: str, replicas: int = 1) -> dict[str, Any]:
    pod = {"containers": [{"name": name, "image": f"registry.example/{name}"} for name in containers]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def by_kubectl(world: Any, body: Manifest, manager: str = "kubectl-edit", *, create: bool = False) -> None:
    """As kubectl writes, without server-side apply."""
    objects = world.cluster._objects
    path, method, kind = objects.path(ref(body)), "PATCH", STRATEGIC
    if create:
        path, method, kind = path.rpartition("/")[0], "POST", "application/json"
    objects.rest.send(Request(method, path, "setup", {"fieldManager": manager}, body, kind))


def hands(live: Manifest) -> list[str]:
    return [entry["manager"] for entry in fields.by_hand(live)]


def test_what_kubectl_applied_before_us_is_taken_over_and_what_git_does_not_have_goes(either: Any) -> None:
    old = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "conf"},
        "data": {"a": "1", "old": "1"},
    }
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(old)}
    by_kubectl(
        either,
        {**old, "metadata": {"name": "conf", "annotations": note}},
        "kubectl-client-side-apply",
        create=True,
    )
    plan, result = either.deploy(config(a="1", b="2"))
    assert [c.action for c in plan.changes] == [Action.Update]
    assert "data.old" in plan.changes[0].reason
    assert not result.problems
    live = either.get("ConfigMap", "conf")
    assert live["data"] == {"a": "1", "b": "2"}
    assert note.keys().isdisjoint(live["metadata"]["annotations"])
    assert hands(live) == []
    assert not either.deploy(config(a="1", b="2"))[0].writes


@pytest.mark.parametrize("manager", ["kubectl-edit", "kubectl-patch"])
def test_a_key_and_a_container_added_with_kubectl_are_found_and_undone(either: Any, manager: str) -> None:
    text = config(a="1") + "\n---\n" + json.dumps(deployment("web"))
    either.deploy(text)
    by_kubectl(
        either,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"x": "1"}},
        manager,
    )
    added = deployment("side")["spec"]["template"]["spec"]
    by_kubectl(either, {**deployment(), "spec": {"template": {"spec": added}}}, manager)
    plan, result = either.deploy(text)
    assert {c.ref.name: c.action for c in plan.changes} == {"conf": Action.Update, "web": Action.Update}
    assert not result.problems
    assert either.get("ConfigMap", "conf")["data"] == {"a": "1"}
    spec = either.get("Deployment", "web", "apps")["spec"]["template"]["spec"]
    assert [c["name"] for c in spec["containers"]] == ["web"]
    assert not either.deploy(text)[0].writes


def test_a_restart_by_kubectl_is_left_alone(either: Any) -> None:
    text = json.dumps(deployment("web"))
    either.deploy(text)
    note = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    restart = {**deployment(), "spec": {"template": {"metadata": {"annotations": note}}}}
    by_kubectl(either, restart, "kubectl-rollout")
    assert not either.deploy(text)[0].writes


def test_what_another_manager_set_beside_us_stays(either: Any) -> None:
    either.deploy(config(a="1"))
    by_kubectl(either, json.loads(config(x="1")), "somebody")
    by_kubectl(either, json.loads(config(y="1")), "kubectl-edit")
    either.deploy(config(a="1"))
    assert either.get("ConfigMap", "conf")["data"] == {"a": "1", "x": "1"}


def test_replicas_that_an_autoscaler_wrote_stay_when_git_does_not_say_them(either: Any) -> None:
    silent = deployment("web")
    del silent["spec"]["replicas"]
    either.deploy(json.dumps(silent))
    scaled = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 4},
    }
    by_kubectl(either, scaled, "kube-controller-manager")
    either.deploy(json.dumps(silent))
    assert either.get("Deployment", "web", "apps")["spec"]["replicas"] == 4


def replicas(count: int, **notes: str) -> str:
    body = deployment("web", replicas=count)
    body["metadata"]["annotations"] = {f"tidegate.dev/{key}": value for key, value in notes.items()}
    return json.dumps(body)


def scaled(world: Any, count: int, manager: str = "scaler") -> None:
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": count},
    }
    by_kubectl(world, body, manager)


def test_a_field_that_another_manager_set_becomes_ours_and_the_plan_says_so(either: Any) -> None:
    either.deploy(replicas(1))
    scaled(either, 4)
    plan, _ = either.deploy(replicas(2))
    assert plan.changes[0].reason.startswith("spec.replicas (set by scaler at 20")
    assert either.get("Deployment", "web", "apps")["spec"]["replicas"] == 2


def test_a_conflict_that_is_to_fail_names_manager_field_value_and_time_and_writes_nothing(
    either: Any,
) -> None:
    either.deploy(replicas(1, conflicts="fail"))
    scaled(either, 4)
    with pytest.raises(Refused, match=r"spec\.replicas is 4, set by scaler at 20\d\d-.*; Git says 2"):
        either.deploy(replicas(2, conflicts="fail"))
    assert either.get("Deployment", "web", "apps")["spec"]["replicas"] == 4


def test_a_field_that_is_yielded_stays_theirs_and_the_rest_is_applied(either: Any) -> None:
    either.deploy(replicas(1, conflicts="yield"))
    scaled(either, 4)
    plan, result = either.deploy(replicas(2, conflicts="yield", note="new"))
    assert plan.changes[0].reason == "metadata.annotations.tidegate.dev/note"
    assert not result.problems
    live = either.get("Deployment", "web", "apps")
    assert (live["spec"]["replicas"], live["metadata"]["annotations"]["tidegate.dev/note"]) == (4, "new")
    assert not either.deploy(replicas(2, conflicts="yield", note="new"))[0].writes


def test_an_item_of_a_list_is_yielded_by_its_key(either: Any) -> None:
    note = {"annotations": {"tidegate.dev/conflicts": "yield"}}
    ours = {**deployment("web"), "metadata": {"name": "web", **note}}
    either.deploy(json.dumps(ours))
    pod = {"containers": [{"name": "web", "image": "registry.example/patched"}]}
    theirs = {**deployment(), "spec": {"template": {"spec": pod}}}
    by_kubectl(either, theirs, "mender")
    assert not either.deploy(json.dumps(ours))[0].writes
    spec = either.get("Deployment", "web", "apps")["spec"]["template"]["spec"]
    assert [c["image"] for c in spec["containers"]] == ["registry.example/patched"]


def test_a_conflict_about_a_secret_shows_no_value(either: Any) -> None:
    def secret(value: str) -> dict[str, Any]:
        meta = {"name": "key", "annotations": {"tidegate.dev/conflicts": "fail"}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"k": value}}

    either.deploy(json.dumps(secret("b25l")))
    by_kubectl(either, secret("dGhlaXJz"), "somebody")
    with pytest.raises(Refused, match=r"data\.k is .*, set by somebody") as refused:
        either.deploy(json.dumps(secret("b3Vycw==")))
    assert not any(value in str(refused.value) for value in ("dGhlaXJz", "b3Vycw", "theirs", "ours;"))


def ignoring(world: Any, kubeconfig: Path, **rule: Any) -> Any:
    """The same stage with one rule about fields that are not ours to decide."""
    settings = Settings(kubeconfig=kubeconfig, namespace=world.cluster.namespace, ignore=(Ignore(**rule),))
    return dataclasses.replace(world, cluster=build(settings))


def test_a_field_that_is_ignored_is_made_as_git_says_and_then_left_alone(
    either: Any, kubeconfig_of: Path
) -> None:
    world = ignoring(either, kubeconfig_of, kind="Deployment.apps", pointers=("/spec/replicas",))
    world.deploy(replicas(2))
    assert world.get("Deployment", "web", "apps")["spec"]["replicas"] == 2
    scaled(world, 5)
    assert not world.deploy(replicas(2))[0].writes
    world.deploy(replicas(3, note="new"))
    live = world.get("Deployment", "web", "apps")
    assert (live["spec"]["replicas"], live["metadata"]["annotations"]["tidegate.dev/note"]) == (5, "new")


def test_what_a_named_manager_has_set_is_ignored_and_what_others_have_set_is_not(
    either: Any, kubeconfig_of: Path
) -> None:
    world = ignoring(either, kubeconfig_of, managers=("scale*",))
    world.deploy(replicas(2))
    scaled(world, 5)
    assert not world.deploy(replicas(2))[0].writes
    scaled(world, 7, "somebody")
    plan, _ = world.deploy(replicas(2))
    assert plan.changes[0].reason.startswith("spec.replicas (set by somebody at 20")


@pytest.mark.parametrize(
    ("pointer", "live", "result"),
    [
        ("/data/a", {"data": {"a": "9"}}, {"data": {"a": "9", "b": "2"}}),
        ("/data/a", {"data": {}}, {"data": {"b": "2"}}),
        ("/data/c~1d", {"data": {"c/d": "3"}}, {"data": {"a": "1", "b": "2", "c/d": "3"}}),
        ("/spec/x", {"data": {}}, {"data": {"a": "1", "b": "2"}}),
    ],
)
def test_a_pointer_takes_the_value_that_is_there(pointer: str, live: Manifest, result: Manifest) -> None:
    assert as_it_is({"data": {"a": "1", "b": "2"}}, live, [pointer]) == result


def test_drift_is_named_with_its_field_its_author_and_its_time(either: Any) -> None:
    other = {**deployment("gone"), "metadata": {"name": "gone"}}
    text = "\n---\n".join([config(a="1"), json.dumps(deployment("web")), json.dumps(other)])
    either.deploy(text)
    by_kubectl(either, json.loads(config(x="1")))
    scaled(either, 4)
    gone = either.get("Deployment", "gone", "apps")
    either.cluster._objects.delete(ref(gone), uid=gone["metadata"]["uid"])
    space = either.cluster.namespace
    drift = sorted(either.look(text).drift)
    assert re.fullmatch(rf"ConfigMap {space}/conf: data\.x \(set by kubectl-edit at 20.*Z\)", drift[0])
    assert drift[1].startswith(f"Deployment {space}/gone")
    assert re.fullmatch(rf"Deployment {space}/web: spec\.replicas \(set by scaler at 20.*Z\)", drift[2])
