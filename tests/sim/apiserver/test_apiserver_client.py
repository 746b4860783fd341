"""The official Python client against our server."""

import pytest


@pytest.fixture
def client(server, api):
    from kubernetes import client

    configuration = client.Configuration()
    configuration.host = server.url
    with client.ApiClient(configuration) as found:
        yield found


def test_typed_models_read_what_we_serve(client, api, deployment, pod):
    from kubernetes import client as models

    api.post("deployments", deployment())
    api.post("pods", pod())
    found = models.AppsV1Api(client).read_namespaced_deployment("web", "shop", _request_timeout=(5, 10))
    assert found.spec.replicas == 1
    pods = models.CoreV1Api(client).list_namespaced_pod("shop", _request_timeout=(5, 10))
    assert [p.metadata.name for p in pods.items] == ["p"]


def test_typed_models_write_what_we_understand(client):
    from kubernetes import client as models

    body = models.V1ConfigMap(metadata=models.V1ObjectMeta(name="conf"), data={"a": "1"})
    found = models.CoreV1Api(client).create_namespaced_config_map("shop", body, _request_timeout=(5, 10))
    assert found.data == {"a": "1"}
    with pytest.raises(models.ApiException) as caught:
        models.CoreV1Api(client).create_namespaced_config_map("shop", body, _request_timeout=(5, 10))
    assert caught.value.status == 409


def test_the_dynamic_client_discovers_and_applies(client, tmp_path, config):
    from kubernetes.dynamic import DynamicClient

    dynamic = DynamicClient(client, cache_file=str(tmp_path / "cache.json"))
    resource = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    found = resource.server_side_apply(
        body=config(a="1"), name="conf", namespace="shop", field_manager="me", force_conflicts=True
    )
    assert found.data.a == "1"
    assert found.metadata.managedFields[0].manager == "me"
