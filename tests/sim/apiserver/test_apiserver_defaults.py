"""What the server fills in."""


def test_a_deployment_gets_its_strategy_and_limits(api, deployment):
    spec = api.post("deployments", deployment()).body["spec"]
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }


def test_a_pod_template_gets_the_defaults_of_a_pod(api, deployment):
    spec = api.post("deployments", deployment()).body["spec"]["template"]["spec"]
    container = spec.pop("containers")[0]
    assert spec == {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
    }
    assert container == {
        "name": "web",
        "image": "web:1",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def test_ports_and_probes_are_completed(api, deployment):
    body = deployment()
    container = body["spec"]["template"]["spec"]["containers"][0]
    container |= {"ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}}}
    found = api.post("deployments", body).body["spec"]["template"]["spec"]["containers"][0]
    assert found["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert found["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_the_pull_policy_follows_the_tag(api, deployment):
    digest = "web@sha256:" + "0" * 64
    always, sometimes = ("web", "web:latest"), ("h:5000/web:1", digest)
    for image in always + sometimes:
        body = deployment(f"d{abs(hash(image))}")
        body["spec"]["template"]["spec"]["containers"][0]["image"] = image
        found = api.post("deployments?dryRun=All", body).body["spec"]["template"]["spec"]["containers"][0]
        assert found["imagePullPolicy"] == ("Always" if image in always else "IfNotPresent"), image


def test_quantities_come_back_canonical(api, deployment):
    body = deployment()
    limits = {"cpu": "1500m", "memory": "2048Mi"}
    requests = {"cpu": 0.5, "memory": "1e3"}
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": limits, "requests": requests}
    found = api.post("deployments", body).body["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert found == {
        "limits": {"cpu": "1500m", "memory": "2Gi"},
        "requests": {"cpu": "500m", "memory": "1e3"},
    }


def test_limits_are_the_default_requests(api, pod):
    body = pod()
    body["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
    answer = api.post("pods", body)
    resources = answer.body["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    assert answer.body["status"]["qosClass"] == "Guaranteed"


def test_a_new_pod_is_pending(api, pod):
    body = {**pod(), "status": {"phase": "Running"}}
    answer = api.post("pods", body)
    assert answer.body["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert "serviceAccountName" not in answer.body["spec"]
    assert [t["tolerationSeconds"] for t in answer.body["spec"]["tolerations"]] == [300, 300]


def test_volumes_of_config_maps_and_secrets_get_a_mode(api, pod):
    body = pod()
    body["spec"]["volumes"] = [
        {"name": "a", "configMap": {"name": "c"}},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "e"},
    ]
    volumes = api.post("pods", body).body["spec"]["volumes"]
    assert [v.get("configMap", v.get("secret", {})).get("defaultMode") for v in volumes] == [420, 420, None]
    assert volumes[2] == {"name": "e", "emptyDir": {}}


def test_a_service_gets_an_address_of_its_own(api):
    def service(name):
        body = {"metadata": {"name": name}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
        return api.post("services", body).body["spec"]

    first, second = service("a"), service("b")
    assert first["type"] == "ClusterIP"
    assert first["clusterIP"].startswith("10.96.")
    assert first["clusterIPs"] == [first["clusterIP"]]
    assert first["clusterIP"] != second["clusterIP"]
    assert first["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (first["sessionAffinity"], first["ipFamilies"]) == ("None", ["IPv4"])


def test_a_headless_service_keeps_no_address(api):
    body = {"metadata": {"name": "a"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}
    assert api.post("services", body).body["spec"]["clusterIP"] == "None"


def test_node_ports_are_given_out_and_kept(api):
    body = {"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    first = api.post("services", body).body["spec"]["ports"][0]["nodePort"]
    assert 30000 <= first < 32768
    assert api.put("services/a", body).body["spec"]["ports"][0]["nodePort"] == first


def test_an_update_without_the_address_keeps_it(api):
    body = {"metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    first = api.post("services", body)
    body["spec"]["ports"][0]["port"] = 81
    second = api.put("services/a", body)
    assert second.body["spec"]["clusterIP"] == first.body["spec"]["clusterIP"]


def test_a_stateful_set_is_completed(api, deployment):
    body = {**deployment(), "kind": "StatefulSet"}
    spec = api.post("statefulsets", body).body["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_a_daemon_set_is_completed(api, deployment):
    spec = api.post("daemonsets", {**deployment(), "kind": "DaemonSet"}).body["spec"]
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_a_job_selects_its_pods_by_its_own_uid(api):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}
    body = api.post("jobs", {"metadata": {"name": "j"}, "spec": {"template": template}}).body
    uid = body["metadata"]["uid"]
    assert body["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    labels = body["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/controller-uid"] == uid
    assert labels["job-name"] == "j"
    assert (body["spec"]["completions"], body["spec"]["parallelism"], body["spec"]["backoffLimit"]) == (
        1,
        1,
        6,
    )


def test_applying_a_job_again_keeps_its_selector(api):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": template},
    }
    first = api.apply("jobs/j", body)
    assert api.apply("jobs/j", body).body == first.body
    assert api.put("jobs/j", body).status == 200


def test_a_namespace_is_active_and_labelled_with_its_name(api):
    body = api.get("/api/v1/namespaces/shop").body
    assert body["status"] == {"phase": "Active"}
    assert body["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert body["spec"] == {"finalizers": ["kubernetes"]}


def test_a_claim_waits_for_its_volume(api):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
    body = api.post("persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": spec}).body
    assert (body["status"]["phase"], body["spec"]["volumeMode"]) == ("Pending", "Filesystem")
    assert body["spec"]["resources"]["requests"]["storage"] == "1Gi"


def test_empty_maps_and_nulls_vanish(api, deployment):
    body = deployment(paused=False, minReadySeconds=0)
    body["metadata"] |= {"labels": {}, "annotations": None, "creationTimestamp": None}
    answer = api.post("deployments", body).body
    assert not {"labels", "annotations"} & answer["metadata"].keys()
    assert not {"paused", "minReadySeconds"} & answer["spec"].keys()
    assert answer["metadata"]["creationTimestamp"]


def test_role_bindings_complete_their_references(api):
    body = {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}],
    }
    answer = api.post("rolebindings", body).body
    assert answer["roleRef"]["apiGroup"] == answer["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
