"""What the server refuses, in the words clients match on."""

import pytest


def test_unknown_fields_are_refused_when_validation_is_strict(api, deployment):
    body = deployment(replica=3)
    answer = api.post("deployments?fieldValidation=Strict", body)
    assert (answer.status, answer.message) == (
        400,
        'Deployment in version "v1" cannot be handled as a Deployment: '
        'strict decoding error: unknown field "spec.replica"',
    )


def test_unknown_fields_are_a_warning_by_default(api, deployment):
    answer = api.post("deployments", deployment(replica=3))
    assert answer.status == 201
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.replica\\""'
    assert "replica" not in answer.body["spec"]


def test_unknown_fields_can_be_ignored(api, deployment):
    answer = api.post("deployments?fieldValidation=Ignore", deployment(replica=3))
    assert answer.status == 201
    assert "Warning" not in answer.headers


def test_a_wrong_type_is_a_bad_request_in_gos_words(api, deployment):
    answer = api.post("deployments", deployment(replicas="two"))
    assert answer.status == 400
    assert answer.message == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct '
        "field DeploymentSpec.spec.replicas of type int32"
    )


@pytest.mark.parametrize("name", ["Web", "web_1", "-web", "w" * 254, "web."])
def test_names_are_lower_case_dns_names(api, config, name):
    answer = api.post("configmaps", config(name))
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.causes[0]["field"] == "metadata.name"


def test_a_service_name_begins_with_a_letter(api):
    body = {"metadata": {"name": "1web"}, "spec": {"ports": [{"port": 80}]}}
    assert "DNS-1035" in api.post("services", body).message


@pytest.mark.parametrize("value", ["x" * 64, "a b", "-a"])
def test_label_values_are_short_and_plain(api, config, value):
    answer = api.post("configmaps", config(metadata={"labels": {"a": value}}))
    assert (answer.status, answer.causes[0]["field"]) == (422, "metadata.labels")


def test_the_template_must_match_the_selector(api, deployment):
    body = deployment()
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    answer = api.post("deployments", body)
    assert answer.status == 422
    assert "`selector` does not match template `labels`" in answer.message


def test_a_pod_needs_a_container_with_an_image(api, pod):
    body = pod()
    del body["spec"]["containers"][0]["image"]
    answer = api.post("pods", body)
    assert [(c["reason"], c["field"]) for c in answer.causes] == [
        ("FieldValueRequired", "spec.containers[0].image")
    ]
    assert answer.message == 'Pod "p" is invalid: spec.containers[0].image: Required value'


def test_all_wrong_fields_are_reported_at_once(api, pod):
    body = pod()
    body["spec"]["containers"] = [{"name": "A"}, {"name": "b", "image": "b"}, {"name": "b", "image": "b"}]
    answer = api.post("pods", body)
    assert {c["reason"] for c in answer.causes} == {
        "FieldValueInvalid",
        "FieldValueRequired",
        "FieldValueDuplicate",
    }
    assert answer.message.startswith('Pod "p" is invalid: [')


def test_a_mount_needs_its_volume(api, pod):
    body = pod()
    body["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    answer = api.post("pods", body)
    assert 'Not found: "data"' in answer.message


def test_a_jobs_pods_do_not_restart_always(api):
    template = {"spec": {"restartPolicy": "Always", "containers": [{"name": "a", "image": "a:1"}]}}
    answer = api.post("jobs", {"metadata": {"name": "j"}, "spec": {"template": template}})
    assert (answer.status, answer.causes[0]["field"]) == (422, "spec.template.spec.restartPolicy")


def test_config_data_is_at_most_a_mebibyte(api, config):
    answer = api.post("configmaps", config(a="x" * (1024 * 1024 + 1)))
    assert (answer.status, answer.causes[0]["reason"]) == (422, "FieldValueTooLong")


def test_a_taken_cluster_address_is_refused(api):
    def service(name):
        return api.post(
            "services",
            {"metadata": {"name": name}, "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 1}]}},
        )

    assert service("a").status == 201
    assert service("b").status == 422


def immutable(api, path, change, text, reason="FieldValueInvalid"):
    answer = api.patch(path, change)
    assert (answer.status, answer.body["reason"]) == (422, "Invalid"), answer.body
    assert text in answer.message
    assert reason in {c["reason"] for c in answer.causes}


def test_a_deployments_selector_is_immutable(api, deployment):
    api.post("deployments", deployment())
    change = {
        "spec": {
            "selector": {"matchLabels": {"x": "y"}},
            "template": {"metadata": {"labels": {"x": "y"}}},
        }
    }
    immutable(api, "deployments/web", change, "field is immutable")


def test_a_jobs_template_is_immutable(api):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}
    api.post("jobs", {"metadata": {"name": "j"}, "spec": {"template": template}})
    immutable(api, "jobs/j", {"spec": {"template": {"spec": {"dnsPolicy": "Default"}}}}, "field is immutable")


def test_most_of_a_stateful_set_is_forbidden_to_change(api, deployment):
    api.post("statefulsets", {**deployment(), "kind": "StatefulSet"})
    text = "updates to statefulset spec for fields other than"
    immutable(api, "statefulsets/web", {"spec": {"serviceName": "x"}}, text, "FieldValueForbidden")
    assert api.patch("statefulsets/web", {"spec": {"replicas": 3}}).status == 200


def test_a_services_address_may_not_change(api):
    api.post("services", {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})
    change = {"spec": {"clusterIP": "10.96.200.200", "clusterIPs": ["10.96.200.200"]}}
    immutable(api, "services/a", change, "may not change once set")


def test_a_role_binding_keeps_its_role(api):
    api.post("rolebindings", {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}})
    immutable(api, "rolebindings/b", {"roleRef": {"name": "other"}}, "cannot change roleRef")


def test_a_claims_spec_is_immutable(api):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    api.post("persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": spec})
    text = "spec is immutable after creation"
    immutable(
        api, "persistentvolumeclaims/c", {"spec": {"storageClassName": "x"}}, text, "FieldValueForbidden"
    )


@pytest.mark.parametrize("plural", ["configmaps", "secrets"])
def test_immutable_data_stays(api, plural):
    api.post(plural, {"metadata": {"name": "a"}, "immutable": True, "data": {"a": "YQ=="}})
    text = "field is immutable when `immutable` is set"
    immutable(api, f"{plural}/a", {"data": {"a": "Yg=="}}, text, "FieldValueForbidden")
    immutable(api, f"{plural}/a", {"immutable": False}, text, "FieldValueForbidden")
    assert api.patch(f"{plural}/a", {"metadata": {"labels": {"x": "y"}}}).status == 200


def test_a_pods_spec_hardly_changes(api, pod):
    api.post("pods", pod())
    text = "pod updates may not change fields other than"
    immutable(api, "pods/p", {"spec": {"hostname": "x"}}, text, "FieldValueForbidden")
    containers = [{"name": "main", "image": "web:2"}]
    kind = "application/strategic-merge-patch+json"
    assert api.patch("pods/p", {"spec": {"containers": containers}}, kind).status == 200


def test_a_pod_can_be_assigned_to_a_node_once(api, pod):
    api.post("pods", pod())
    assert api.patch("pods/p", {"spec": {"nodeName": "one"}}).status == 200
    assert api.patch("pods/p", {"spec": {"nodeName": "two"}}).status == 422


def test_the_volumes_of_a_stateful_set_may_come_from_its_claims(api, deployment):
    body = {**deployment(), "kind": "StatefulSet"}
    body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "data", "mountPath": "/data"}
    ]
    assert api.post("statefulsets", body).status == 422
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
    assert api.post("statefulsets", body).status == 201
