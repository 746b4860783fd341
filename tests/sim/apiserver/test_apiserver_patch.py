"""The three patches clients send."""

JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def test_a_merge_patch_sets_and_removes(api, config):
    api.post("configmaps", config(a="1", b="2"))
    answer = api.patch("configmaps/conf", {"data": {"a": None, "c": "3"}})
    assert answer.body["data"] == {"b": "2", "c": "3"}


def test_a_merge_patch_replaces_lists(api, deployment):
    api.post("deployments", deployment())
    containers = [{"name": "other", "image": "other:1"}]
    answer = api.patch("deployments/web", {"spec": {"template": {"spec": {"containers": containers}}}})
    assert [c["name"] for c in answer.body["spec"]["template"]["spec"]["containers"]] == ["other"]


def test_a_patch_that_changes_nothing_keeps_the_version(api, config):
    before = api.post("configmaps", config(a="1")).rv
    assert api.patch("configmaps/conf", {"data": {"a": "1"}}).rv == before


def test_a_patch_with_a_stale_version_conflicts(api, config):
    before = api.post("configmaps", config(a="1")).rv
    api.patch("configmaps/conf", {"data": {"a": "2"}})
    answer = api.patch("configmaps/conf", {"metadata": {"resourceVersion": str(before)}, "data": {"a": "3"}})
    assert answer.status == 409


def test_a_json_patch_tests_before_it_writes(api, config):
    api.post("configmaps", config(a="1"))
    good = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "replace", "path": "/data/a", "value": "2"},
    ]
    assert api.patch("configmaps/conf", good, JSON).body["data"] == {"a": "2"}
    answer = api.patch("configmaps/conf", good, JSON)
    assert answer.status == 422
    assert api.get("configmaps/conf").body["data"] == {"a": "2"}


def test_a_json_patch_to_a_missing_path_is_refused(api, config):
    api.post("configmaps", config())
    assert api.patch("configmaps/conf", [{"op": "remove", "path": "/data/none"}], JSON).status == 422


def test_a_strategic_patch_merges_containers_by_name(api, deployment):
    api.post("deployments", deployment())
    containers = [{"name": "web", "image": "web:2"}, {"name": "side", "image": "side:1"}]
    answer = api.patch(
        "deployments/web", {"spec": {"template": {"spec": {"containers": containers}}}}, STRATEGIC
    )
    found = {c["name"]: c["image"] for c in answer.body["spec"]["template"]["spec"]["containers"]}
    assert found == {"web": "web:2", "side": "side:1"}


def test_a_strategic_patch_deletes_list_items_by_directive(api, deployment):
    body = deployment()
    body["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "side:1"})
    api.post("deployments", body)
    containers = [{"name": "side", "$patch": "delete"}]
    answer = api.patch(
        "deployments/web", {"spec": {"template": {"spec": {"containers": containers}}}}, STRATEGIC
    )
    assert [c["name"] for c in answer.body["spec"]["template"]["spec"]["containers"]] == ["web"]


def test_a_strategic_patch_follows_the_element_order_given(api, deployment):
    body = deployment()
    body["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "side:1"})
    api.post("deployments", body)
    order = [{"name": "side"}, {"name": "web"}]
    patch = {"spec": {"template": {"spec": {"$setElementOrder/containers": order}}}}
    answer = api.patch("deployments/web", patch, STRATEGIC)
    assert [c["name"] for c in answer.body["spec"]["template"]["spec"]["containers"]] == ["side", "web"]


def test_a_strategic_patch_switches_the_strategy_with_retained_keys(api, deployment):
    api.post("deployments", deployment())
    strategy = {"$retainKeys": ["type"], "type": "Recreate"}
    answer = api.patch("deployments/web", {"spec": {"strategy": strategy}}, STRATEGIC)
    assert answer.body["spec"]["strategy"] == {"type": "Recreate"}


def test_a_strategic_patch_takes_finalizers_off_one_by_one(api, config):
    api.post("configmaps", config(metadata={"finalizers": ["a.example/x", "b.example/y"]}))
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.example/x"]}}
    assert api.patch("configmaps/conf", patch, STRATEGIC).body["metadata"]["finalizers"] == ["b.example/y"]


def test_pod_conditions_are_merged_by_type_in_status_patches(api, pod):
    api.post("pods", pod())
    api.patch("pods/p/status", {"status": {"conditions": [{"type": "A", "status": "True"}]}}, STRATEGIC)
    answer = api.patch(
        "pods/p/status", {"status": {"conditions": [{"type": "B", "status": "True"}]}}, STRATEGIC
    )
    assert {c["type"] for c in answer.body["status"]["conditions"]} == {"A", "B"}


def test_custom_resources_know_no_strategic_patch(api, widgets):
    api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets())
    path = "/apis/example.com/v1/namespaces/shop/widgets"
    api.post(path, {"metadata": {"name": "w"}, "spec": {"size": 1}})
    answer = api.patch(f"{path}/w", {"spec": {"size": 2}}, STRATEGIC)
    assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")


def test_an_unknown_patch_type_is_refused(api, config):
    api.post("configmaps", config())
    assert api.patch("configmaps/conf", {}, "application/json").status == 415


def test_a_patch_cannot_rename(api, config):
    api.post("configmaps", config())
    assert api.patch("configmaps/conf", {"metadata": {"name": "other"}}).status in (400, 422)


def test_force_is_for_apply_only(api, config):
    api.post("configmaps", config())
    assert api.patch("configmaps/conf?force=true", {"data": {"a": "1"}}).status == 422


def test_patching_what_is_not_there_is_not_found(api):
    assert api.patch("configmaps/none", {"data": {}}).status == 404


def test_emptied_managed_fields_are_really_gone(api, config):
    api.post("configmaps", config(a="1"))
    answer = api.patch("configmaps/conf", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in answer.body["metadata"]
