"""Every change to a cluster first exists as a value: what is written, kept, pruned and refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import yaml_reader
from tidegate.domain import compare, fields, order
from tidegate.domain.inventory import Entry, Inventory, digest, entry
from tidegate.domain.manifests import Manifest, Ref, files, normal, parse, read, ref
from tidegate.domain.plan import Action, Owner, Plan, Refusal, plan
from tidegate.domain.tracking import TRACKING_ID, stamped, tracked_by

OWNER = Owner("shop", "production", "default")
CASES = Path(__file__).parent / "plan"


def raw(path: Path) -> list[Manifest]:
    return [d.data for d in yaml_reader.read(path.read_bytes(), path.name)]


def inventory_of(live: list[Manifest], desired: list[Manifest]) -> Inventory:
    """As after an apply of `desired`, with everything live known; the uid of one was another then."""
    known = {ref(m): Entry(ref(m), "0", m["metadata"]["uid"].replace("another", "was-another")) for m in live}
    return Inventory(OWNER, known).union(entry(m) for m in desired if ref(m) in known)


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir()))
def test_plans_read_as_recorded(case: str, golden: Callable[[Path, str], None]) -> None:
    live = raw(CASES / case / "live.yaml")
    desired = [stamped(normal(m), OWNER) for m in read((CASES / case / "desired.yaml").read_bytes(), case)]
    made = plan(desired, {ref(m): m for m in live}, {}, inventory_of(live, desired))
    text = re.sub("••••[0-9a-f]{4}", "••••", made.text())
    golden(CASES / case / "plan.txt", text)


def config_map(name: str = "a", **data: str) -> Manifest:
    meta = {"name": name, "namespace": "shop"}
    return stamped({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}, OWNER)


def live_of(manifest: Manifest, uid: str = "u", **changes: Any) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid}} | changes


def one(made: Plan) -> Any:
    (change,) = made.changes
    return change


def test_the_same_state_again_needs_no_question_and_no_write() -> None:
    desired = config_map(x="1")
    live = {ref(desired): live_of(desired)}
    first = plan([desired], {}, {}, Inventory(OWNER))
    known = Inventory(OWNER).union(first.entries())
    again = plan([desired], live, {}, known)
    assert again.writes == ()
    assert again.summary() == "nothing to do: 1 object is as desired"


def test_a_dry_run_that_changes_nothing_is_no_write() -> None:
    desired = config_map(x="1")
    live = live_of(desired)
    predicted = json.loads(json.dumps(live)) | {"status": {"other": 1}}
    predicted["metadata"]["resourceVersion"] = "9"
    made = plan([desired], {ref(desired): live}, {ref(desired): predicted}, Inventory(OWNER))
    assert one(made).action is Action.Unchanged


def test_a_dry_run_the_server_refused_blocks_the_whole_plan_in_its_words() -> None:
    bad, good = config_map("bad"), config_map("good")
    made = plan([bad, good], {}, {ref(bad): Refusal("data: Too long")}, Inventory(OWNER))
    assert made.refusals == ("ConfigMap shop/bad: data: Too long",)


def test_a_removed_field_is_an_update_even_if_live_still_covers_the_rest() -> None:
    old, new = config_map(x="1", y="2"), config_map(x="1")
    known = Inventory(OWNER).union([entry(old, live_of(old))])
    made = plan([new], {ref(old): live_of(old)}, {}, known)
    assert one(made).action is Action.Update


def test_a_copied_annotation_claims_nothing() -> None:
    desired = config_map("a")
    foreign = live_of(config_map("a"))
    foreign["metadata"]["annotations"] = {TRACKING_ID: Owner("x", "y", "z").tracking_id(ref(config_map("b")))}
    assert tracked_by(foreign) is None
    assert one(plan([desired], {ref(desired): foreign}, {}, Inventory(OWNER))).action is Action.Update


def masked_secret() -> tuple[Manifest, Manifest]:
    meta = {"name": "s", "namespace": "shop"}
    open_ = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"p": "aHVudGVyMg=="}}
    (closed,) = parse(files([open_], key=b"k"))
    return stamped(open_, OWNER), stamped(closed, OWNER)


def test_a_masked_secret_is_kept_as_it_is_and_stays_in_the_inventory() -> None:
    secret, masked = masked_secret()
    known = Inventory(OWNER).union([entry(secret, live_of(secret))])
    made = plan([masked], {ref(secret): live_of(secret)}, {}, known)
    assert one(made).action is Action.Unchanged
    assert Inventory(OWNER, {e.ref: e for e in made.entries()}) == known


def test_a_masked_secret_that_is_gone_cannot_be_restored_and_says_so() -> None:
    _, masked = masked_secret()
    made = plan([masked], {}, {}, Inventory(OWNER))
    assert "render it again" in made.refusals[0]


def test_an_object_that_is_being_deleted_is_made_anew() -> None:
    desired = config_map()
    going = live_of(desired)
    going["metadata"] = going["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    change = one(plan([desired], {ref(desired): going}, {}, Inventory(OWNER)))
    assert (change.action, change.reason) == (Action.Create, "created anew once the old one is gone")


def test_nothing_rendered_prunes_nothing_unless_that_is_meant() -> None:
    old = config_map("old")
    known = Inventory(OWNER).union([entry(old, live_of(old))])
    guarded = plan([], {ref(old): live_of(old)}, {}, known)
    assert guarded.writes == ()
    assert "everything" in guarded.refusals[0]
    meant = plan([], {ref(old): live_of(old)}, {}, known, allow_empty=True)
    assert [c.action for c in meant.writes] == [Action.Prune]


def test_objects_a_guard_keeps_stay_ours_and_foreign_ones_are_forgotten() -> None:
    keep, lost = config_map("keep"), config_map("lost")
    keep["metadata"]["annotations"]["tidegate.dev/prune"] = "false"
    taken = live_of(stamped(lost, Owner("other", "app", "default")))
    known = Inventory(OWNER).union([entry(keep, live_of(keep)), entry(lost, live_of(lost))])
    made = plan([config_map()], {ref(keep): live_of(keep), ref(lost): taken}, {}, known)
    assert made.kept() == {ref(keep)}


def test_secrets_show_in_no_text_and_no_json() -> None:
    secret, _ = masked_secret()
    made = plan([secret], {}, {}, Inventory(OWNER))
    shown = made.text() + json.dumps(made.to_json()) + made.changes[0].diff()
    assert "aHVudGVyMg" not in shown
    assert "hunter2" not in shown
    assert "p: '••••" in shown


def test_a_diff_shows_only_fields_we_own() -> None:
    ours = {"f:data": {"f:x": {}}}
    desired = config_map(x="2")
    live = live_of(desired, data={"x": "1", "theirs": "9"})
    live["metadata"] = live["metadata"] | {
        "managedFields": [{"manager": "tidegate", "operation": "Apply", "fieldsV1": ours}]
    }
    predicted = {**live, "data": {"x": "2", "theirs": "9"}}
    change = one(plan([desired], {ref(desired): live}, {ref(desired): predicted}, Inventory(OWNER)))
    assert change.reason == "data.x"
    assert "-  x: '1'" in change.diff()
    assert "theirs" not in change.diff()


def test_a_diff_is_bounded() -> None:
    big = config_map(**{f"k{i}": "v" * 1000 for i in range(1000)})
    text = one(plan([big], {}, {}, Inventory(OWNER))).diff()
    assert len(text) < 150_000
    assert "more lines" in text


def test_a_plan_that_would_prune_too_large_a_share_is_refused_as_a_whole() -> None:
    there = [config_map(f"c{n}") for n in range(10)]
    live = {ref(m): live_of(m) for m in there}
    known = Inventory(OWNER).union(entry(m, m) for m in live.values())
    refused = plan(there[:4], live, {}, known, max_prune=50)
    assert len(refused.refusals) == 6
    assert (
        "6 of 10 objects would be pruned, more than 50 %; raise the target's max_prune" in refused.refusals[0]
    )
    assert not plan(there[:5], live, {}, known, max_prune=50).refusals
    assert not plan(there[:4], live, {}, known, max_prune=100).refusals


# --- inventory, tracking ------------------------------------------------------------------------------------


def test_an_inventory_survives_its_own_text() -> None:
    secret, _ = masked_secret()
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a:b"}}
    known = Inventory(OWNER).union([entry(secret), entry(role), entry(config_map(), live_of(config_map()))])
    assert Inventory.from_text(OWNER, known.to_text()) == known
    with pytest.raises(ValueError, match="unpack"):
        Inventory.from_text(OWNER, "damaged\n")


def test_a_known_uid_is_not_forgotten_by_the_union() -> None:
    made = Inventory(OWNER).union([Entry(Ref("", "ConfigMap", "shop", "a"), "1", "u")])
    assert made.union([Entry(Ref("", "ConfigMap", "shop", "a"), "2")]).entries == {
        Ref("", "ConfigMap", "shop", "a"): Entry(Ref("", "ConfigMap", "shop", "a"), "2", "u")
    }


def test_the_digest_of_a_secret_says_nothing_about_its_values() -> None:
    secret, _ = masked_secret()
    assert digest(secret) == digest({**secret, "data": {"p": "b3RoZXI="}})
    assert digest(secret) != digest({**secret, "data": {"p": "", "q": ""}})


def test_marks_go_on_the_object_and_never_on_its_pods() -> None:
    web = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
        "spec": {"template": {"metadata": {"labels": {"a": "b"}}}},
    }
    made = stamped(web, OWNER)
    assert made["metadata"]["labels"] == {"a": "b", "tidegate.dev/app": "shop.production"}
    assert made["metadata"]["annotations"] == {
        TRACKING_ID: "default:shop.production:apps/Deployment:shop/web"
    }
    assert made["spec"] == web["spec"]
    assert tracked_by(made) == "default:shop.production"


def test_long_names_make_different_labels_of_legal_length() -> None:
    labels = {Owner("a" * 60, f"stage-{i}", "default").label for i in range(20)}
    assert len(labels) == 20
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", label) for label in labels)


# --- comparing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "desired", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({}, {"a": {}}, True),
        ({"a": None}, {"a": []}, True),
        ({"a": ""}, {"a": None}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"n": 1, "more": 2}]}, {"a": [{"n": 1}]}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 1.0}, {"a": 1}, True),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "1000m"}}}, True),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": 1}}}, True),
        ({"resources": {"limits": {"memory": "1Gi"}}}, {"resources": {"limits": {"memory": "1024Mi"}}}, True),
        ({"resources": {"limits": {"memory": "1G"}}}, {"resources": {"limits": {"memory": "1Gi"}}}, False),
        ({"data": {"x": "1"}}, {"data": {"x": "1000m"}}, False),
    ],
)
def test_live_covers_desired(live: Any, desired: Any, same: bool) -> None:
    assert compare.covers(live, desired) is same


def test_changed_paths_name_list_items_by_their_key() -> None:
    before = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "args": ["x", "y"]}
    after = {"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1"}], "args": ["x", "z"]}
    assert list(compare.changed_paths(before, after)) == ["containers[b].image", "args[1]"]


def test_a_projection_keeps_exactly_the_owned_fields() -> None:
    owned = {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}},
            "f:finalizers": {'v:"x"': {}},
        },
    }
    obj = {
        "metadata": {"labels": {"a": "1", "b": "2"}, "name": "n"},
        "spec": {
            "containers": [{"name": "log"}, {"name": "web", "image": "i", "tty": True}],
            "finalizers": ["w", "x"],
            "replicas": 3,
        },
    }
    assert fields.project(obj, owned) == {
        "metadata": {"labels": {"a": "1"}},
        "spec": {"containers": [{"name": "web", "image": "i"}], "finalizers": ["x"]},
    }


def test_a_whole_value_beats_its_parts_in_a_union() -> None:
    assert fields.union({"f:a": {}}, {"f:a": {"f:b": {}}, "f:c": {}}) == {"f:a": {}, "f:c": {}}


# --- order --------------------------------------------------------------------------------------------------


def test_namespaces_then_crds_then_argo_cds_order_then_custom_resources() -> None:
    kinds = ["Widget", "Deployment", "Service", "Secret", "CustomResourceDefinition", "Namespace", "Ingress"]
    refs = [Ref("", kind, "shop", "a") for kind in kinds]
    assert [r.kind for r in order.ordered(refs)] == [
        "Namespace", "CustomResourceDefinition", "Secret", "Service", "Deployment", "Ingress", "Widget"
    ]  # fmt: skip


def test_one_step_holds_one_kind() -> None:
    refs = [
        Ref("", "Service", "shop", "b"),
        Ref("apps", "Deployment", "shop", "a"),
        Ref("", "Service", "shop", "a"),
    ]
    steps = order.by_kind((r, r.name) for r in refs)
    assert steps == [["a", "b"], ["a"]]


# --- properties ---------------------------------------------------------------------------------------------

values = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]), max_size=3)
worlds = st.dictionaries(st.sampled_from(["p", "q", "r", "s"]), values, max_size=4)


@given(before=worlds, after=worlds)
def test_doing_what_a_plan_says_leaves_nothing_to_do(
    before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]
) -> None:
    live = {ref(m): live_of(m) for m in (config_map(n, **d) for n, d in before.items())}
    known = Inventory(OWNER).union(entry(m, m) for m in live.values())
    desired = [config_map(n, **d) for n, d in after.items()]
    made = plan(desired, live, {}, known, allow_empty=True)
    for change in made.writes:
        if change.desired is None:
            del live[change.ref]
        else:
            live[change.ref] = live_of(change.desired)
    settled = Inventory(OWNER, {e.ref: replace(e, uid="u") for e in made.entries()})
    again = plan(desired, live, {}, settled, allow_empty=True)
    assert again.writes == ()
    assert set(live) == {ref(m) for m in desired}


@given(before=worlds, after=worlds)
def test_no_plan_touches_what_it_did_not_make(
    before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]
) -> None:
    other = Owner("other", "production", "default")
    theirs = {ref(m): live_of(stamped(m, other)) for m in (config_map(n, **d) for n, d in before.items())}
    known = Inventory(OWNER).union(entry(m, m) for m in theirs.values())
    made = plan([config_map(n, **d) for n, d in after.items()], theirs, {}, known, allow_empty=True)
    assert not {c.ref for c in made.writes} & set(theirs)
