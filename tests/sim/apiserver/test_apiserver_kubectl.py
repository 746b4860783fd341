"""The real kubectl against our server."""

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, namespace: shop}
data: {a: "1"}
"""


@pytest.fixture
def kubectl(server, tmp_path):
    config = server.write_kubeconfig(tmp_path / "kubeconfig")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(config)}

    def run(*argv, stdin=None, code=0):
        done = subprocess.run(
            ["kubectl", *argv], input=stdin, capture_output=True, text=True, timeout=60, env=environment
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def test_server_side_apply_creates_and_then_changes_nothing(kubectl, server):
    first = kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    assert first.count("serverside-applied") == 4
    version = server.store.rv
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    assert server.store.rv == version


def test_strict_validation_catches_a_misspelt_field(kubectl):
    kubectl("create", "namespace", "shop")
    wrong = MANIFESTS.replace("containerPort: 80", "containerPorts: 80")
    out = kubectl("apply", "-f", "-", stdin=wrong, code=1)
    assert 'unknown field "spec.template.spec.containers[0].ports[0].containerPorts"' in out


def test_client_side_apply_patches_three_ways(kubectl):
    assert "created" in kubectl("apply", "-f", "-", stdin=MANIFESTS)
    assert "deployment.apps/web unchanged" in kubectl("apply", "-f", "-", stdin=MANIFESTS)
    changed = MANIFESTS.replace("web:1", "web:2").replace('data: {a: "1"}', 'data: {b: "2"}')
    out = kubectl("apply", "-f", "-", stdin=changed)
    assert "deployment.apps/web configured" in out
    image = "{.spec.template.spec.containers[*].image}"
    assert kubectl("get", "deploy", "web", "-n", "shop", "-o", f"jsonpath={image}") == "web:2"
    assert kubectl("get", "cm", "conf", "-n", "shop", "-o", "jsonpath={.data}") == '{"b":"2"}'


def test_moving_from_client_side_to_server_side_apply(kubectl):
    kubectl("apply", "-f", "-", stdin=MANIFESTS)
    changed = MANIFESTS.replace('data: {a: "1"}', 'data: {b: "2"}')
    kubectl("apply", "--server-side", "-f", "-", stdin=changed)
    assert kubectl("get", "cm", "conf", "-n", "shop", "-o", "jsonpath={.data}") == '{"b":"2"}'


def test_conflicts_are_explained(kubectl):
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    kubectl("scale", "-n", "shop", "deploy/web", "--replicas=5")
    out = kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS, code=1)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in out
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=MANIFESTS)
    assert kubectl("get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.replicas}") == "2"


def test_get_prints_tables_and_objects(kubectl):
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    wide = kubectl("get", "deploy", "-n", "shop", "-o", "wide")
    assert wide.split()[:9] == [
        "NAME",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "AGE",
        "CONTAINERS",
        "IMAGES",
        "SELECTOR",
        "web",
    ]
    assert "service/web" in kubectl("get", "all", "-n", "shop")
    assert "kind: ConfigMap" in kubectl("get", "cm", "conf", "-n", "shop", "-o", "yaml")
    assert '"kind": "List"' in kubectl("get", "cm", "-A", "-o", "json")
    assert "default" in kubectl("get", "ns")
    assert "NotFound" in kubectl("get", "cm", "none", code=1)


def test_describe_reads_what_belongs_together(kubectl):
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    assert "StrategyType:           RollingUpdate" in kubectl("describe", "-n", "shop", "deployment/web")
    assert "Type:                     ClusterIP" in kubectl("describe", "-n", "shop", "service/web")
    kubectl("run", "one", "-n", "shop", "--image=web:1")
    assert "Status:       Pending" in kubectl("describe", "-n", "shop", "pod/one")
    assert "Status:       Active" in kubectl("describe", "namespace", "shop")


def test_imperative_commands_work(kubectl):
    kubectl("create", "namespace", "shop")
    kubectl("create", "configmap", "conf", "-n", "shop", "--from-literal=a=1")
    kubectl("create", "secret", "generic", "key", "-n", "shop", "--from-literal=p=q")
    kubectl("create", "serviceaccount", "robot", "-n", "shop")
    assert kubectl("get", "cm", "conf", "-n", "shop", "-o", "jsonpath={.data.a}") == "1"
    assert kubectl("get", "secret", "key", "-n", "shop", "-o", "jsonpath={.data.p}") == "cQ=="
    kubectl("label", "cm", "conf", "-n", "shop", "x=y")
    kubectl("annotate", "cm", "conf", "-n", "shop", "note=this")
    metadata = "jsonpath={.metadata.labels.x}{.metadata.annotations.note}"
    assert kubectl(
        "get", "cm", "-l", "x=y", "-n", "shop", "-o", metadata.replace(".metadata", ".items[0].metadata")
    )
    assert kubectl("get", "cm", "conf", "-n", "shop", "-o", metadata) == "ythis"
    kubectl("patch", "cm", "conf", "-n", "shop", "-p", '{"data":{"a":"2"}}')
    assert kubectl("get", "cm", "conf", "-n", "shop", "-o", "jsonpath={.data.a}") == "2"


def test_scale_and_wait_follow_an_object(kubectl):
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    kubectl("scale", "-n", "shop", "deploy/web", "--replicas=5")
    out = kubectl("wait", "-n", "shop", "deploy/web", "--for=jsonpath={.spec.replicas}=5", "--timeout=10s")
    assert "condition met" in out
    kubectl("set", "image", "-n", "shop", "deploy/web", "web=web:9")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deploy", "web", "-n", "shop", "-o", image) == "web:9"


def test_diff_shows_what_an_apply_would_change(kubectl):
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    assert kubectl("diff", "--server-side", "-f", "-", stdin=MANIFESTS) == ""
    out = kubectl("diff", "--server-side", "-f", "-", stdin=MANIFESTS.replace("web:1", "web:2"), code=1)
    assert "-      - image: web:1" in out
    assert "+      - image: web:2" in out


def test_delete_waits_until_the_object_is_gone(kubectl):
    kubectl("apply", "--server-side", "-f", "-", stdin=MANIFESTS)
    kubectl("delete", "deployment", "web", "-n", "shop", "--timeout=20s")
    assert "NotFound" in kubectl("get", "deploy", "web", "-n", "shop", code=1)
    kubectl("delete", "namespace", "shop", "--timeout=20s")
    assert "NotFound" in kubectl("get", "namespace", "shop", code=1)


def test_custom_kinds_are_found_by_their_short_name(kubectl, widgets):
    import json

    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(widgets()))
    kubectl("wait", "crd/widgets.example.com", "--for=condition=Established", "--timeout=10s")
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    assert "w " in kubectl("get", "wd")
    assert "widgets" in kubectl("api-resources", "--api-group=example.com")


def test_kubectl_talks_of_versions_without_complaint(kubectl):
    out = kubectl("version")
    assert "Server Version" in out
    assert "WARNING" not in out
    assert kubectl("auth", "can-i", "create", "deployments").strip() == "yes"


def test_a_deployment_a_service_and_a_job_can_be_created_by_command(kubectl):
    kubectl(
        "create", "deployment", "web", "--image=web:1", "--replicas=2", "--port=80", "--", "serve", "--fast"
    )
    spec = "{.spec.replicas} {.spec.template.spec.containers[0].command} {.spec.template.spec.containers[0].ports}"
    out = kubectl("get", "deploy", "web", "-o", f"jsonpath={spec}")
    assert out == '2 ["serve","--fast"] [{"containerPort":80,"protocol":"TCP"}]'
    kubectl("expose", "deployment", "web", "--port=80")
    kubectl("create", "service", "clusterip", "other", "--tcp=80:http")
    port = "jsonpath={.spec.ports[0].port}:{.spec.ports[0].targetPort}"
    assert kubectl("get", "service", "other", "-o", port) == "80:http"
    kubectl("create", "job", "once", "--image=web:1", "--", "train")
    assert kubectl("get", "job", "once", "-o", "jsonpath={.spec.template.spec.restartPolicy}") == "Never"


def test_what_is_sent_in_a_form_we_do_not_read_is_refused_clearly(kubectl):
    out = kubectl("create", "quota", "q", "--hard=pods=1", code=1)
    assert "the body of the request was in an unknown format" in out
