"""A CustomResourceDefinition makes a new kind."""

import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATH = "/apis/example.com/v1/namespaces/shop/widgets"


def widget(name="w", **spec):
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }


@pytest.fixture
def defined(api, widgets):
    assert api.post(CRDS, widgets()).status == 201
    return api


def test_before_its_definition_the_kind_is_not_found(api):
    assert api.get(PATH).status == 404


def test_a_definition_is_established_and_served(api, widgets):
    body = api.post(CRDS, widgets()).body
    conditions = {c["type"]: c["status"] for c in body["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert body["status"]["storedVersions"] == ["v1"]
    assert body["spec"]["names"]["listKind"] == "WidgetList"
    assert api.get(PATH).body["kind"] == "WidgetList"


def test_a_definition_shows_in_discovery(defined):
    body = defined.get("/apis/example.com/v1").body
    row = body["resources"][0]
    assert (row["name"], row["kind"], row["shortNames"]) == ("widgets", "Widget", ["wd"])
    assert "widgets/status" in [r["name"] for r in body["resources"]]


def test_custom_objects_get_their_schemas_defaults(defined):
    assert defined.post(PATH, widget()).body["spec"] == {"size": 1, "color": "red"}


def test_unknown_fields_are_pruned_and_free_ones_kept(defined):
    body = defined.post(PATH, widget(other=1, free={"any": {"thing": [1]}})).body
    assert body["spec"]["free"] == {"any": {"thing": [1]}}
    assert "other" not in body["spec"]


def test_values_outside_the_schema_are_invalid(defined):
    answer = defined.post(PATH, widget(color="green", size=0))
    assert answer.status == 422
    assert {c["field"] for c in answer.causes} == {"spec.color", "spec.size"}
    assert 'Unsupported value: "green": supported values: "red", "blue"' in answer.message
    assert "spec.size in body should be greater than or equal to 1" in answer.message


def test_missing_required_fields_are_invalid(defined):
    body = widget()
    del body["spec"]["size"]
    answer = defined.post(PATH, body)
    assert (answer.status, answer.causes[0]["field"]) == (422, "spec.size")


def test_a_wrong_type_names_the_expected_one(defined):
    answer = defined.post(PATH, widget(size="big"))
    assert answer.status == 422
    assert 'spec.size in body must be of type integer: "string"' in answer.message


def test_lists_by_key_are_merged_by_apply(defined):
    defined.apply(f"{PATH}/w", widget(parts=[{"name": "a", "weight": 1}]))
    other = widget(parts=[{"name": "b", "weight": 2}])
    del other["spec"]["size"]
    answer = defined.apply(f"{PATH}/w", other, manager="bob")
    assert [p["name"] for p in answer.body["spec"]["parts"]] == ["a", "b"]
    owner = next(m for m in answer.body["metadata"]["managedFields"] if m["manager"] == "bob")
    assert 'k:{"name":"b"}' in owner["fieldsV1"]["f:spec"]["f:parts"]


def test_an_unchanged_apply_of_a_custom_object_writes_nothing(defined):
    first = defined.apply(f"{PATH}/w", widget())
    assert defined.apply(f"{PATH}/w", widget()).body == first.body


def test_custom_status_has_its_own_endpoint_and_generation_ignores_it(defined):
    body = {**widget(), "status": {"phase": "Ready"}}
    assert "status" not in defined.post(PATH, body).body
    answer = defined.patch(f"{PATH}/w/status", {"status": {"phase": "Ready"}, "spec": {"size": 9}})
    assert (answer.body["status"], answer.body["spec"]["size"]) == ({"phase": "Ready"}, 1)
    assert answer.body["metadata"]["generation"] == 1
    assert defined.patch(f"{PATH}/w", {"spec": {"size": 2}}).body["metadata"]["generation"] == 2


def test_custom_objects_can_be_watched(defined):
    defined.post(PATH, widget())
    events = defined.watch(f"{PATH}?watch=1&timeoutSeconds=1")
    assert [(e["type"], e["object"]["kind"]) for e in events] == [("ADDED", "Widget")]


def test_items_of_custom_lists_name_their_kind(defined):
    defined.post(PATH, widget())
    assert defined.get(PATH).body["items"][0]["kind"] == "Widget"


def test_a_changed_definition_is_served_at_once(defined, widgets):
    schema = widgets()["spec"]["versions"][0]["schema"]
    schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] = {"type": "string"}
    assert defined.put(f"{CRDS}/widgets.example.com", widgets(schema=schema)).status == 200
    assert defined.post(PATH, widget(extra="x")).body["spec"]["extra"] == "x"


def test_every_served_version_shows_the_same_objects(api, widgets):
    body = widgets()
    body["spec"]["versions"].append({**body["spec"]["versions"][0], "name": "v1beta1", "storage": False})
    api.post(CRDS, body)
    api.post(PATH, widget())
    older = api.get(PATH.replace("/v1/", "/v1beta1/") + "/w").body
    assert (older["apiVersion"], older["spec"]["size"]) == ("example.com/v1beta1", 1)
    assert older["metadata"]["uid"] == api.get(f"{PATH}/w").body["metadata"]["uid"]


def test_the_scale_of_a_custom_kind_follows_its_paths(api, widgets):
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    api.post(CRDS, widgets(subresources={"status": {}, "scale": scale}))
    api.post(PATH, widget(replicas=2))
    assert api.get(f"{PATH}/w/scale").body["spec"] == {"replicas": 2}
    api.patch(f"{PATH}/w/scale", {"spec": {"replicas": 4}})
    assert api.get(f"{PATH}/w").body["spec"]["replicas"] == 4


def test_a_definitions_name_is_plural_and_group(api, widgets):
    body = widgets()
    body["metadata"]["name"] = "wrong.example.com"
    assert api.post(CRDS, body).status == 422


def test_deleting_the_definition_deletes_its_objects_and_its_endpoint(defined):
    defined.post(PATH, widget())
    defined.delete(f"{CRDS}/widgets.example.com")
    defined.until(lambda: defined.get(f"{CRDS}/widgets.example.com").status == 404)
    assert defined.get(PATH).status == 404
    assert defined.get("/apis/example.com/v1").status == 404


def test_redefined_kinds_begin_empty(defined, widgets):
    defined.post(PATH, widget())
    defined.delete(f"{CRDS}/widgets.example.com")
    defined.until(lambda: defined.get(f"{CRDS}/widgets.example.com").status == 404)
    assert defined.post(CRDS, widgets()).status == 201
    assert defined.get(PATH).body["items"] == []


def test_a_definition_waits_for_its_objects_finalizers(defined):
    body = widget()
    body["metadata"]["finalizers"] = ["a.example/x"]
    defined.post(PATH, body)
    defined.delete(f"{CRDS}/widgets.example.com")
    defined.until(lambda: defined.get(f"{PATH}/w").body["metadata"].get("deletionTimestamp"))
    conditions = defined.get(f"{CRDS}/widgets.example.com").body["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions}["Terminating"] == "True"
    assert defined.post(PATH, widget("new")).status == 405
    defined.patch(f"{PATH}/w", {"metadata": {"finalizers": None}})
    defined.until(lambda: defined.get(f"{CRDS}/widgets.example.com").status == 404)


def test_apply_refuses_fields_the_definition_does_not_declare(defined):
    answer = defined.apply(f"{PATH}/w", widget(other=1))
    assert answer.status == 500
    assert answer.message == (
        "failed to create typed patch object (/w; example.com/v1, Kind=Widget): "
        ".spec.other: field not declared in schema"
    )
