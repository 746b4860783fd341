"""Look and act on a real API server: what is written, what is not, and what survives dying in between."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes import Settings, build
from tidegate.domain.manifests import Ref
from tidegate.domain.plan import Action, Owner
from tidegate.errors import Conflict, NotFound, Refused, Rejected, SpecError
from tidegate.sim.apiserver import ApiServer

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example/shop@sha256:aaa
        ports: [{containerPort: 80}]
        resources: {limits: {cpu: 1000m, memory: 1024Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: hunter2-canary}
"""
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.x.io}
spec:
  group: x.io
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
"""
WIDGET = "{apiVersion: x.io/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}"


def config(name: str, **data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def joined(*texts: str) -> str:
    return "\n---\n".join(texts)


def test_a_second_apply_sends_no_writing_request(world: Any) -> None:
    _, first = world.deploy(WEB)
    assert [r.kind for r in first.applied] == ["Secret", "Service", "Deployment"]
    world.requests.clear()
    plan, again = world.deploy(WEB)
    assert world.requests.writes == []
    assert plan.summary() == "nothing to do: 3 objects are as desired"
    assert len(again.unchanged) == 3


def test_looking_writes_nothing(world: Any) -> None:
    world.look(WEB)
    assert world.get("Deployment", "web", "apps") is None
    assert world.get("ConfigMap", world.owner.name) is None


def test_a_changed_image_is_one_update_that_names_it(world: Any) -> None:
    world.deploy(WEB)
    world.requests.clear()
    plan, done = world.deploy(WEB.replace("sha256:aaa", "sha256:bbb"))
    (change,) = plan.writes
    assert change.reason == "spec.template.spec.containers[web].image"
    assert "-      - image: registry.example/shop@sha256:aaa" in change.diff()
    assert [str(r) for r in done.applied] == ["Deployment shop/web"]
    live = world.get("Deployment", "web", "apps")
    assert live["metadata"]["generation"] == 2


def test_fields_of_others_are_left_alone(world: Any) -> None:
    world.deploy(WEB)
    world.put(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {replicas: 7}}",
        manager="autoscaler",
    )
    world.requests.clear()
    world.deploy(WEB)
    assert world.requests.writes == []
    assert world.get("Deployment", "web", "apps")["spec"]["replicas"] == 7


def test_drift_in_what_git_says_is_seen_and_healed(world: Any) -> None:
    world.deploy(config("a", x="1"))
    world.put(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}, data: {x: '2'}}",
        manager="human",
    )
    plan, _ = world.deploy(config("a", x="1"))
    [reason] = [c.reason for c in plan.writes]
    assert reason.startswith("data.x (set by human at 20"), "never a silent overwrite"
    assert world.get("ConfigMap", "a")["data"] == {"x": "1"}


def test_what_left_the_render_is_pruned_and_forgotten(world: Any) -> None:
    world.deploy(joined(config("a"), config("b")))
    _, done = world.deploy(config("a"))
    assert [str(r) for r in done.pruned] == ["ConfigMap shop/b"]
    assert world.get("ConfigMap", "b") is None
    assert " b " not in world.get("ConfigMap", world.owner.name)["data"]["objects"]


def test_a_lost_inventory_is_told_again_by_the_objects_themselves(world: Any) -> None:
    world.deploy(joined(config("a"), config("old"), WEB))
    live = world.get("ConfigMap", world.owner.name)
    world.cluster._objects.delete(Ref("", "ConfigMap", "shop", world.owner.name), uid=live["metadata"]["uid"])
    _, done = world.deploy(joined(config("a"), WEB))
    assert [str(r) for r in done.pruned] == ["ConfigMap shop/old"]
    world.requests.clear()
    world.deploy(joined(config("a"), WEB))
    assert world.requests.writes == []


def test_pruning_spares_objects_owned_by_another_app(world: Any) -> None:
    world.deploy(joined(config("a"), config("b")))
    books = Owner("books", "production", "default")
    live = world.get("ConfigMap", "b")
    live["metadata"] = {
        "name": "b",
        "namespace": "shop",
        "annotations": {"tidegate.dev/tracking-id": books.tracking_id(Ref("", "ConfigMap", "shop", "b"))},
    }
    world.patch(live, "tidegate")
    plan, done = world.deploy(config("a"))
    assert done.pruned == ()
    assert any("now belongs to default:books.production" in c.reason for c in plan.changes)
    assert world.get("ConfigMap", "b") is not None
    world.requests.clear()
    world.deploy(config("a"))
    assert world.requests.writes == [], "said once, then forgotten"


def test_an_object_of_another_app_is_refused_and_nothing_is_written(world: Any) -> None:
    world.deploy(config("a", x="1"))
    world.owner = Owner("books", "production", "default")
    world.requests.clear()
    with pytest.raises(Refused, match=r"ConfigMap shop/a: belongs to default:shop\.production"):
        world.deploy(joined(config("a", x="2"), config("b")))
    assert world.get("ConfigMap", "b") is None
    assert world.get("ConfigMap", "a")["data"] == {"x": "1"}


def test_an_inventory_of_another_stage_with_the_same_name_is_not_touched(world: Any) -> None:
    world.owner = Owner("shop-eu", "production", "default")
    world.deploy(config("a"))
    world.owner = Owner("shop", "eu-production", "default")
    with pytest.raises(Rejected, match=r"belongs to default:shop-eu\.production"):
        world.deploy(config("b"))


def test_an_empty_render_never_wipes_a_stage(world: Any) -> None:
    world.deploy(joined(config("a"), config("b")))
    plan = world.cluster.look(world.owner, [])
    with pytest.raises(Refused, match="pruning would remove everything"):
        world.cluster.apply(world.owner, plan, fence=lambda: None)
    plan = world.cluster.look(world.owner, [], allow_empty=True)
    done = world.cluster.apply(world.owner, plan, fence=lambda: None)
    assert len(done.pruned) == 2


def test_one_bad_object_stops_the_whole_set_before_the_first_write(world: Any) -> None:
    typo = config("b")[:-1] + ', "dta": {}}'
    plan = world.look(joined(config("a"), typo))
    assert any("field not declared in schema" in text for text in plan.refusals)
    with pytest.raises(Refused, match="ConfigMap shop/b"):
        world.cluster.apply(world.owner, plan, fence=lambda: None)
    assert world.get("ConfigMap", "a") is None
    assert world.get("ConfigMap", world.owner.name) is None


def test_an_immutable_field_is_refused_in_the_servers_words(world: Any) -> None:
    world.deploy(WEB)
    plan = world.look(WEB.replace("{app: web}", "{app: other}"))
    assert any("immutable" in text for text in plan.refusals)


def test_secret_values_are_in_no_error(world: Any) -> None:
    bad = "{apiVersion: v1, kind: Secret, metadata: {name: token}, data: {token: [hunter2-canary]}}"
    plan = world.look(bad)
    assert plan.refusals
    assert "hunter2" not in " ".join(plan.refusals) + plan.text()


def test_a_missing_namespace_says_what_helps(server: ApiServer, kubeconfig: Path, world: Any) -> None:
    world.cluster = build(Settings(kubeconfig=kubeconfig, namespace="nowhere"))
    plan = world.look(config("a"))
    assert plan.refusals[0] == (
        "ConfigMap nowhere/a: namespace nowhere is not there; put a Namespace into the manifests, create it, "
        "or set create_namespace on the target"
    )


def test_a_missing_namespace_is_made_when_asked_for(kubeconfig: Path, world: Any) -> None:
    world.cluster = build(Settings(kubeconfig=kubeconfig, namespace="fresh", create_namespace=True))
    _, done = world.deploy(config("a"))
    assert done.problems == ()
    assert world.get("ConfigMap", "a", namespace="fresh") is not None


def test_a_namespace_of_the_set_comes_first(world: Any) -> None:
    inside = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"eu"}}'
    _, done = world.deploy(joined(inside, "{apiVersion: v1, kind: Namespace, metadata: {name: eu}}"))
    assert [r.kind for r in done.applied] == ["Namespace", "ConfigMap"]


def test_custom_resources_wait_for_their_crd_of_the_same_set(world: Any) -> None:
    _, done = world.deploy(joined(WIDGET, CRD))
    assert done.problems == ()
    assert world.get("Widget", "w", "x.io")["spec"] == {"size": 3}
    world.requests.clear()
    world.deploy(joined(WIDGET, CRD))
    assert world.requests.writes == []


def test_a_kind_without_a_crd_says_so(world: Any) -> None:
    with pytest.raises(NotFound, match=r"no kind Widget in x\.io/v1; is its CRD installed"):
        world.look(WIDGET)


def test_the_same_object_twice_after_placing_is_refused(world: Any) -> None:
    with pytest.raises(SpecError, match="ConfigMap shop/a is already written"):
        world.look(joined(config("a"), config("a").replace('"name"', '"namespace": "shop", "name"')))


def test_an_object_being_deleted_is_made_anew_once_it_is_gone(world: Any) -> None:
    held = config("a", x="1").replace('"name"', '"finalizers": ["x.io/hold"], "name"')
    world.deploy(held)
    live = world.get("ConfigMap", "a")
    world.cluster._objects.delete(Ref("", "ConfigMap", "shop", "a"), uid=live["metadata"]["uid"])
    plan = world.look(held)
    assert plan.writes[0].reason == "created anew once the old one is gone"

    def let_go() -> None:
        path = "/api/v1/namespaces/shop/configmaps/a"
        from tidegate.adapters.targets.kubernetes.rest import Request

        body = [{"op": "remove", "path": "/metadata/finalizers"}]
        world.cluster._objects.rest.send(Request("PATCH", path, "x", {}, body, "application/json-patch+json"))

    timer = threading.Timer(0.3, let_go)
    timer.start()
    done = world.cluster.apply(world.owner, plan, fence=lambda: None)
    timer.join()
    assert done.problems == ()
    assert world.get("ConfigMap", "a")["metadata"]["uid"] != live["metadata"]["uid"]


def test_the_fence_is_asked_before_every_write(world: Any) -> None:
    world.deploy(joined(WEB, config("old")))
    plan = world.look(WEB.replace("sha256:aaa", "sha256:bbb"))
    asked: list[int] = []
    world.requests.clear()
    world.cluster.apply(world.owner, plan, fence=lambda: asked.append(len(world.requests.writes)))
    assert len(asked) == len(world.requests.writes)


class Killed(Exception):
    """The process dies here."""


def dying_at(boundary: int) -> Callable[[], None]:
    left = [boundary]
    lock = threading.Lock()

    def fence() -> None:
        with lock:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    return fence


@pytest.mark.parametrize("boundary", range(7))
def test_dying_before_any_write_loses_and_orphans_nothing(world: Any, boundary: int) -> None:
    world.deploy(joined(config("a", x="1"), config("gone"), config("gone-too")))
    new = joined(config("a", x="2"), config("b"), config("c"))
    with pytest.raises(Killed):
        world.deploy(new, fence=dying_at(boundary))
    stray = joined(config("a", x="3"))
    world.deploy(stray)
    left = {m["metadata"]["name"] for m in world.cluster.list("v1", "ConfigMap")}
    assert left == {"a", world.owner.name}, "everything any run made or knew is pruned"
    assert world.get("ConfigMap", "a")["data"] == {"x": "3"}


def test_a_lost_lease_ends_the_apply_and_is_not_taken_for_an_objects_problem(world: Any) -> None:
    def lost() -> None:
        raise Conflict("lease lost")

    with pytest.raises(Conflict, match="lease lost"):
        world.deploy(config("a"), fence=lost)
    assert world.get("ConfigMap", "a") is None


def test_a_taken_over_object_keeps_what_others_said(world: Any) -> None:
    theirs = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}, data: {x: '1', z: '1'}}"
    world.put(theirs, "somebody")
    plan, _ = world.deploy(config("a", x="1"))
    assert [c.action for c in plan.writes] == [Action.Update]
    assert world.get("ConfigMap", "a")["data"] == {"x": "1", "z": "1"}
    assert world.look(config("a", x="1")).writes == ()


def test_a_thousand_objects_are_quick_to_look_at_again(world: Any) -> None:
    many = joined(*(config(f"c{i}", x=str(i)) for i in range(1000)))
    world.deploy(many)
    world.requests.clear()
    start = time.monotonic()
    plan, _ = world.deploy(many)
    seconds = time.monotonic() - start
    assert plan.writes == ()
    assert world.requests.writes == []
    assert len(world.requests.seen) < 20, "one LIST, not a thousand GETs"
    assert seconds < 10
