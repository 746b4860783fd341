"""What kubectl get prints."""

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def table(api, path):
    body = api.get(path, accept=TABLE).body
    assert body["kind"] == "Table"
    columns = [c["name"] for c in body["columnDefinitions"]]
    return [dict(zip(columns, row["cells"], strict=True)) for row in body["rows"]]


def test_pods_show_readiness_restarts_and_place(api, pod):
    api.post("pods", pod(node="one"))
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"phase": "Running", "podIP": "127.1.2.3"}
    status["containerStatuses"] = [{"name": "main", "ready": False, "restartCount": 3, "state": state}]
    api.patch("pods/p/status", {"status": status})
    row = table(api, "pods")[0]
    assert (row["Name"], row["Ready"], row["Status"], row["Restarts"]) == (
        "p",
        "0/1",
        "CrashLoopBackOff",
        "3",
    )
    assert (row["IP"], row["Node"], row["Readiness Gates"]) == ("127.1.2.3", "one", "<none>")


def test_a_pod_being_deleted_is_terminating(api, pod):
    api.post("pods", pod(node="one"))
    api.delete("pods/p")
    assert table(api, "pods")[0]["Status"] == "Terminating"


def test_wide_columns_have_a_lower_priority(api):
    columns = api.get("pods", accept=TABLE).body["columnDefinitions"]
    assert {c["name"]: c["priority"] for c in columns} == {
        "Name": 0,
        "Ready": 0,
        "Status": 0,
        "Restarts": 0,
        "Age": 0,
        "IP": 1,
        "Node": 1,
        "Nominated Node": 1,
        "Readiness Gates": 1,
    }


def test_rows_carry_their_metadata(api, pod):
    api.post("pods", pod())
    row = api.get("pods", accept=TABLE).body["rows"][0]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["name"] == "p"


def test_deployments_show_their_counts(api, deployment):
    api.post("deployments", deployment(replicas=3))
    api.patch("deployments/web/status", {"status": {"readyReplicas": 2, "updatedReplicas": 3}})
    row = table(api, "deployments/web")[0]
    assert (row["Ready"], row["Up-to-date"], row["Available"]) == ("2/3", 3, 0)
    assert (row["Containers"], row["Images"], row["Selector"]) == ("web", "web:1", "app=web")


def test_services_show_addresses_and_ports(api):
    spec = {"clusterIP": "10.96.9.9", "selector": {"a": "b"}, "ports": [{"port": 80}]}
    api.post("services", {"metadata": {"name": "a"}, "spec": spec})
    row = table(api, "services")[0]
    assert (row["Type"], row["Cluster-IP"], row["External-IP"], row["Port(s)"]) == (
        "ClusterIP",
        "10.96.9.9",
        "<none>",
        "80/TCP",
    )


def test_nodes_show_whether_they_are_ready(api):
    status = {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}}
    api.post("/api/v1/nodes", {"metadata": {"name": "one"}, "status": status})
    row = table(api, "/api/v1/nodes")[0]
    assert (row["Status"], row["Version"]) == ("Ready", "v1")


def test_every_kind_has_a_table(api):
    groups = [g["preferredVersion"]["groupVersion"] for g in api.get("/apis").body["groups"]]
    for group in ["/api/v1", *(f"/apis/{g}" for g in groups)]:
        for row in api.get(group).body["resources"]:
            if "/" in row["name"] or "list" not in row["verbs"]:
                continue
            body = api.get(f"{group}/{row['name']}", accept=TABLE).body
            assert body["columnDefinitions"][0]["name"] in ("Name", "Last Seen")


def test_custom_kinds_print_the_columns_they_declare(api, widgets):
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
    ]
    api.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets(additionalPrinterColumns=columns)
    )
    path = "/apis/example.com/v1/namespaces/shop/widgets"
    api.post(path, {"metadata": {"name": "w"}, "spec": {"size": 7}})
    api.patch(f"{path}/w/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    row = table(api, path)[0]
    assert (row["Name"], row["Size"], row["Ready"]) == ("w", 7, "True")
    assert row["Born"].endswith("s")


def test_watches_come_as_tables_too(api, pod):
    api.post("pods", pod())
    import json

    answer = api.pool.request(
        "GET", api.url + api.path("pods?watch=1&timeoutSeconds=1"), headers={"accept": TABLE}
    )
    event = json.loads(answer.data.splitlines()[0])
    assert (event["type"], event["object"]["kind"]) == ("ADDED", "Table")
    assert event["object"]["rows"][0]["cells"][0] == "p"
