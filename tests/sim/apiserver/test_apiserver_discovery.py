"""What clients ask before anything else."""

import json

import pytest

from tidegate.sim.apiserver import types_source

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_is_plain_ok(api, path):
    assert (api.get(path).status, api.get(path).body) == (200, "ok")


def test_the_version_is_one_kubectl_is_content_with(api):
    body = api.get("/version").body
    assert (body["major"], body["minor"]) == ("1", "32")
    assert "tidegate" in body["gitVersion"]


def test_core_and_groups_are_listed(api):
    assert api.get("/api").body["versions"] == ["v1"]
    groups = {g["name"]: g["preferredVersion"]["groupVersion"] for g in api.get("/apis").body["groups"]}
    assert groups["apps"] == "apps/v1"
    assert groups["autoscaling"] == "autoscaling/v2"
    assert groups["apiextensions.k8s.io"] == "apiextensions.k8s.io/v1"


def test_resources_tell_scope_names_and_verbs(api):
    rows = {r["name"]: r for r in api.get("/api/v1").body["resources"]}
    assert rows["pods"]["shortNames"] == ["po"]
    assert rows["pods"]["namespaced"] is True
    assert rows["nodes"]["namespaced"] is False
    assert set(rows["pods"]["verbs"]) >= {"get", "list", "watch", "create", "update", "patch", "delete"}
    assert {"pods/log", "pods/status", "services/proxy"} <= rows.keys()
    apps = {r["name"]: r for r in api.get("/apis/apps/v1").body["resources"]}
    assert apps["deployments/scale"]["kind"] == "Scale"


def test_aggregated_discovery_takes_two_requests(api):
    core = api.get("/api", accept=AGGREGATED)
    assert core.headers["Content-Type"] == AGGREGATED.partition(",")[0]
    assert core.body["kind"] == "APIGroupDiscoveryList"
    pods = next(r for r in core.body["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
    assert pods["responseKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert pods["scope"] == "Namespaced"
    rest = api.get("/apis", accept=AGGREGATED).body
    assert rest["items"][0]["metadata"]["name"] == "apps"


def test_the_open_api_document_says_that_fields_are_validated(api):
    where = api.get("/openapi/v3").body["paths"]["apis/apps/v1"]["serverRelativeURL"]
    paths = api.get(where).body["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "kind": "Deployment",
        "version": "v1",
    }
    assert "fieldValidation" in [p["name"] for p in patch["parameters"]]


def test_unknown_versions_are_not_found(api):
    assert api.get("/apis/apps/v1beta1").status == 404
    assert api.get("/nothing/here").status == 404


def test_the_field_types_are_those_of_the_installed_client():
    recorded = types_source.TYPES.read_text(encoding="utf-8")
    assert json.loads(recorded) == types_source.read_types(types_source.models_folder()), (
        "types.json is out of date: run python -m tidegate.sim.apiserver.types_source"
    )
