"""Server-side apply: who owns what, who may change what, and what happens when somebody stops caring."""

import time

import pytest

STRATEGIC = "application/strategic-merge-patch+json"


def entry(answer, manager, operation="Apply"):
    found = [
        m
        for m in answer.body["metadata"].get("managedFields", [])
        if m["manager"] == manager and m["operation"] == operation
    ]
    assert len(found) < 2
    return found[0]["fieldsV1"] if found else None


def test_apply_creates_with_201_and_updates_with_200(api, config):
    assert api.apply("configmaps/conf", config(a="1")).status == 201
    assert api.apply("configmaps/conf", config(a="2")).status == 200


def test_an_unchanged_apply_keeps_version_generation_and_time(api, deployment):
    first = api.apply("deployments/web", deployment())
    time.sleep(1.1)
    second = api.apply("deployments/web", deployment())
    assert second.body == first.body


def test_the_applier_owns_exactly_what_it_said(api, deployment):
    body = deployment(replicas=2)
    container = body["spec"]["template"]["spec"]["containers"][0]
    container |= {"ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}
    answer = api.apply("deployments/web", body)
    assert entry(answer, "alice") == {
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            ".": {},
                            "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                            },
                        }
                    }
                },
            },
        }
    }


def test_a_field_no_longer_said_is_removed(api, config):
    api.apply("configmaps/conf", config(a="1", b="2"))
    answer = api.apply("configmaps/conf", config(a="1"))
    assert answer.body["data"] == {"a": "1"}
    assert entry(answer, "alice") == {"f:data": {"f:a": {}}}


def test_the_last_field_takes_its_map_along(api, config):
    api.apply("configmaps/conf", config(a="1"))
    body = config()
    del body["data"]
    answer = api.apply("configmaps/conf", body)
    assert "data" not in answer.body
    assert entry(answer, "alice") is None


def test_another_managers_field_conflicts_and_names_it(api, config):
    api.apply("configmaps/conf", config(a="1"))
    answer = api.apply("configmaps/conf", config(a="2"), manager="bob")
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.causes == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".data.a"}
    ]
    assert answer.message == 'Apply failed with 1 conflict: conflict with "alice": .data.a'
    assert api.get("configmaps/conf").body["data"] == {"a": "1"}


def test_several_conflicts_are_grouped_by_manager(api, config):
    api.apply("configmaps/conf", config(a="1"))
    api.apply("configmaps/conf", config(b="1"), manager="bob")
    answer = api.apply("configmaps/conf", config(a="2", b="2"), manager="carol")
    assert answer.message == (
        'Apply failed with 2 conflicts: conflicts with "alice":\n- .data.a\nconflicts with "bob":\n- .data.b'
    )


def test_force_takes_the_field_over(api, config):
    api.apply("configmaps/conf", config(a="1", b="1"))
    answer = api.apply("configmaps/conf", config(a="2"), manager="bob", query="&force=true")
    assert answer.body["data"] == {"a": "2", "b": "1"}
    assert entry(answer, "bob") == {"f:data": {"f:a": {}}}
    assert entry(answer, "alice") == {"f:data": {"f:b": {}}}


def test_the_same_value_is_shared_without_conflict(api, config):
    api.apply("configmaps/conf", config(a="1"))
    answer = api.apply("configmaps/conf", config(a="1"), manager="bob")
    assert entry(answer, "bob") == entry(answer, "alice") == {"f:data": {"f:a": {}}}


def test_a_shared_field_stays_until_the_last_owner_lets_go(api, config):
    api.apply("configmaps/conf", config(a="1", b="1"))
    api.apply("configmaps/conf", config(a="1"), manager="bob")
    assert api.apply("configmaps/conf", config(b="1")).body["data"] == {"a": "1", "b": "1"}
    body = config(c="1")
    assert api.apply("configmaps/conf", body, manager="bob").body["data"] == {"b": "1", "c": "1"}


def test_what_others_added_survives_even_force(api, deployment):
    api.apply("deployments/web", deployment())
    containers = [{"name": "side", "image": "side:1"}]
    api.patch("deployments/web", {"spec": {"template": {"spec": {"containers": containers}}}}, STRATEGIC)
    answer = api.apply("deployments/web", deployment(), query="&force=true")
    assert [c["name"] for c in answer.body["spec"]["template"]["spec"]["containers"]] == ["side", "web"]


def test_a_dropped_container_goes_with_all_its_defaults(api, deployment):
    body = deployment()
    body["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "side:1"})
    api.apply("deployments/web", body)
    answer = api.apply("deployments/web", deployment())
    assert [c["name"] for c in answer.body["spec"]["template"]["spec"]["containers"]] == ["web"]


def test_dropping_replicas_hands_them_to_whoever_scaled(api, deployment):
    api.apply("deployments/web", deployment(replicas=2))
    scale = api.get("deployments/web/scale").body
    scale["spec"]["replicas"] = 7
    api.put("deployments/web/scale", scale)
    answer = api.apply("deployments/web", deployment())
    assert answer.body["spec"]["replicas"] == 7


def test_a_dropped_field_with_a_default_returns_to_it(api, deployment):
    api.apply("deployments/web", deployment(replicas=3))
    assert api.apply("deployments/web", deployment()).body["spec"]["replicas"] == 1


def test_dropping_the_strategy_brings_back_the_default_one(api, deployment):
    api.apply("deployments/web", deployment(strategy={"type": "Recreate"}))
    strategy = api.apply("deployments/web", deployment()).body["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"


def test_an_update_takes_ownership_of_what_it_changed(api, config):
    api.apply("configmaps/conf", config(a="1", b="1"))
    api.patch("configmaps/conf", {"data": {"a": "2"}})
    answer = api.get("configmaps/conf")
    assert entry(answer, "tests", "Update") == {"f:data": {"f:a": {}}}
    assert entry(answer, "alice") == {"f:data": {"f:b": {}}}


def test_a_conflict_with_an_update_names_its_api_version(api, config):
    api.post("configmaps?fieldManager=kubectl-create", config(a="1"))
    answer = api.apply("configmaps/conf", config(a="2"))
    assert answer.causes[0]["message"] == 'conflict with "kubectl-create" using v1'


def test_a_created_object_is_owned_by_its_creator_defaults_included(api, deployment):
    answer = api.post("deployments?fieldManager=creator", deployment())
    owned = entry(answer, "creator", "Update")
    assert owned["f:spec"]["f:replicas"] == {}
    assert owned["f:spec"]["f:strategy"]["f:rollingUpdate"] == {
        ".": {},
        "f:maxSurge": {},
        "f:maxUnavailable": {},
    }
    assert owned["f:spec"]["f:template"]["f:metadata"]["f:labels"] == {".": {}, "f:app": {}}


def test_without_a_field_manager_the_user_agent_names_the_writer(api, config):
    assert entry(api.post("configmaps", config(a="1")), "tests", "Update")


def test_an_equal_quantity_written_differently_is_no_change(api, deployment):
    body = deployment()
    limits = {"cpu": "1", "memory": "1Gi"}
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": limits}
    first = api.apply("deployments/web", body)
    limits |= {"cpu": "1000m", "memory": "1024Mi"}
    second = api.apply("deployments/web", body)
    assert (second.rv, second.body["metadata"]["generation"]) == (first.rv, 1)


def test_apply_needs_a_field_manager(api, config):
    answer = api.ask("PATCH", "configmaps/conf", config(), kind="application/apply-patch+yaml")
    assert answer.status == 422
    assert answer.causes[0]["field"] == "fieldManager"


@pytest.mark.parametrize("fields", [[], [{}]], ids=["empty", "one"])
def test_managed_fields_must_not_be_sent(api, config, fields):
    answer = api.apply("configmaps/conf", config(metadata={"managedFields": fields}))
    assert (answer.status, answer.message) == (400, "metadata.managedFields must be nil")


def test_the_name_must_be_the_urls(api, config):
    assert api.apply("configmaps/other", config()).status == 400


def test_a_stale_version_in_the_body_is_an_optimistic_lock(api, config):
    first = api.apply("configmaps/conf", config(a="1"))
    api.apply("configmaps/conf", config(a="2"))
    body = config(metadata={"resourceVersion": str(first.rv)}, a="3")
    answer = api.apply("configmaps/conf", body)
    assert (answer.status, answer.body["reason"], answer.causes) == (409, "Conflict", [])


def test_an_undeclared_field_is_a_500_without_a_reason(api, deployment):
    answer = api.apply("deployments/web", deployment(replica=3))
    assert answer.status == 500
    assert "reason" not in answer.body
    assert answer.message == (
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): "
        ".spec.replica: field not declared in schema"
    )


def test_ignoring_field_validation_does_not_help_an_apply(api, deployment):
    assert api.apply("deployments/web", deployment(replica=3), query="&fieldValidation=Ignore").status == 500


def test_a_wrong_type_is_a_500_that_says_what_was_expected(api, config):
    body = config()
    body["data"] = {"a": 1}
    answer = api.apply("configmaps/conf", body)
    assert answer.status == 500
    assert ".data.a: expected string, got" in answer.message


def test_duplicate_ports_are_refused_and_other_protocols_are_not(api, deployment):
    body = deployment()
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]
    assert api.apply("deployments/web", body).status == 201
    container["ports"] = [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]
    answer = api.apply("deployments/web", body)
    assert answer.status == 500
    assert 'duplicate entries for key [containerPort=80,protocol="TCP"]' in answer.message


def test_duplicate_environment_names_are_refused(api, deployment):
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A"}, {"name": "A"}]
    answer = api.apply("deployments/web", body)
    assert answer.status == 500
    assert 'duplicate entries for key [name="A"]' in answer.message


def test_several_type_errors_are_listed(api, deployment):
    answer = api.apply("deployments/web", deployment(replica=3, paused="no"))
    assert "errors:\n  .spec" in answer.message


def test_a_dry_run_apply_predicts_under_the_live_version(api, config):
    live = api.apply("configmaps/conf", config(a="1"))
    answer = api.apply("configmaps/conf", config(a="2"), query="&dryRun=All")
    assert (answer.body["data"], answer.rv) == ({"a": "2"}, live.rv)
    assert api.get("configmaps/conf").body == live.body


def test_a_dry_run_apply_of_something_new_has_no_version(api, config):
    answer = api.apply("configmaps/conf", config(a="1"), query="&dryRun=All")
    assert answer.status == 201
    assert answer.body["metadata"]["uid"]
    assert "resourceVersion" not in answer.body["metadata"]


def test_a_missing_namespace_is_not_found(api, config):
    path = "/api/v1/namespaces/nowhere/configmaps/conf"
    assert api.apply(path, config()).status == 404
    assert api.apply(path, config(), query="&dryRun=All").status == 404


def test_string_data_becomes_data(api):
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    answer = api.apply("secrets/s", body)
    assert (answer.body["data"], answer.body["type"]) == ({"a": "Yg=="}, "Opaque")
    assert "stringData" not in answer.body
    assert api.apply("secrets/s", body).rv == answer.rv


def test_an_atomic_list_is_replaced_as_one(api):
    def role(*verbs):
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]
        meta = {"name": "r"}
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": meta,
            "rules": rules,
        }

    answer = api.apply("roles/r", role("get"))
    assert entry(answer, "alice") == {"f:rules": {}}
    assert api.apply("roles/r", role("list")).body["rules"][0]["verbs"] == ["list"]


def test_finalizers_are_a_set(api, config):
    api.apply("configmaps/conf", config(metadata={"finalizers": ["a.example/x"]}, a="1"))
    answer = api.apply(
        "configmaps/conf", config(metadata={"finalizers": ["b.example/y"]}, b="1"), manager="bob"
    )
    assert sorted(answer.body["metadata"]["finalizers"]) == ["a.example/x", "b.example/y"]
    assert entry(answer, "bob")["f:metadata"] == {"f:finalizers": {'v:"b.example/y"': {}}}


def test_status_is_owned_apart_from_the_rest(api, deployment):
    api.apply("deployments/web", deployment())
    status = {**deployment(), "status": {"replicas": 3}}
    del status["spec"]
    answer = api.apply("deployments/web/status", status, manager="controller")
    assert answer.body["status"] == {"replicas": 3}
    owner = next(m for m in answer.body["metadata"]["managedFields"] if m["manager"] == "controller")
    assert (owner["subresource"], owner["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})


def test_status_in_a_plain_apply_is_ignored(api, deployment):
    answer = api.apply("deployments/web", {**deployment(), "status": {"replicas": 3}})
    assert answer.body["status"] == {}
    assert "f:status" not in entry(answer, "alice")


def test_an_object_without_owners_gets_one_for_its_past(api, config):
    api.post("configmaps", config(a="1", b="1"))
    api.patch("configmaps/conf", {"metadata": {"managedFields": [{}]}})
    answer = api.apply("configmaps/conf", config(a="1"))
    assert entry(answer, "before-first-apply", "Update") == {"f:data": {".": {}, "f:a": {}, "f:b": {}}}


def test_rewritten_managed_fields_are_believed(api, config):
    """How a client folds another manager's entry into its own (csaupgrade)."""
    api.post("configmaps?fieldManager=kubectl-client-side-apply", config(a="1", b="1"))
    live = api.get("configmaps/conf").body["metadata"]["managedFields"]
    folded = [{**live[0], "manager": "alice", "operation": "Apply"}]
    ops = [{"op": "replace", "path": "/metadata/managedFields", "value": folded}]
    api.patch("configmaps/conf", ops, "application/json-patch+json")
    answer = api.apply("configmaps/conf", config(a="1"))
    assert answer.body["data"] == {"a": "1"}
    assert [m["manager"] for m in answer.body["metadata"]["managedFields"]] == ["alice"]


def test_items_follow_the_appliers_order(api, deployment):
    body = deployment()
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    body["spec"]["template"]["spec"]["containers"][0]["env"] = env
    api.apply("deployments/web", body)
    env.reverse()
    answer = api.apply("deployments/web", body)
    found = answer.body["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [v["name"] for v in found] == ["B", "A"]


def test_yaml_is_accepted_as_the_content_type_promises(api):
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: conf\ndata:\n  a: '1'\n"
    answer = api.ask("PATCH", "configmaps/conf?fieldManager=alice", body, kind="application/apply-patch+yaml")
    assert (answer.status, answer.body["data"]) == (201, {"a": "1"})


def test_owners_are_listed_appliers_first(api, config):
    api.post("configmaps?fieldManager=zed", config(a="1"))
    api.apply("configmaps/conf", config(b="1"))
    managers = [m["manager"] for m in api.get("configmaps/conf").body["metadata"]["managedFields"]]
    assert managers == ["alice", "zed"]


@pytest.mark.parametrize("kind", ["ServiceAccount", "Namespace"])
def test_an_object_of_only_a_name_is_applied_once(api, kind):
    path = "/api/v1/namespaces/bare" if kind == "Namespace" else "serviceaccounts/bare"
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "bare"}}
    first = api.apply(path, body)
    assert api.apply(path, body).body == first.body
