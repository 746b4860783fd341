"""Objects come, change and are found again."""


def test_a_created_object_has_identity_and_a_version(api, deployment):
    answer = api.post("deployments", deployment())
    metadata = answer.body["metadata"]
    assert answer.status == 201
    assert len(metadata["uid"]) == 36
    assert metadata["generation"] == 1
    assert metadata["namespace"] == "shop"
    assert metadata["creationTimestamp"].endswith("Z")
    assert api.get("deployments/web").body == answer.body


def test_resource_versions_rise_over_all_kinds(api, deployment, config):
    first = api.post("configmaps", config("a")).rv
    second = api.post("deployments", deployment()).rv
    assert second > first


def test_creating_a_name_twice_conflicts(api, config):
    api.post("configmaps", config())
    answer = api.post("configmaps", config())
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "conf" already exists'
    assert answer.body["details"] == {"name": "conf", "kind": "configmaps"}


def test_a_missing_object_is_a_status_with_details(api):
    answer = api.get("deployments/none")
    assert (answer.status, answer.body["reason"]) == (404, "NotFound")
    assert answer.message == 'deployments.apps "none" not found'
    assert answer.body["details"] == {"name": "none", "group": "apps", "kind": "deployments"}


def test_an_unknown_group_is_a_plain_text_404(api):
    answer = api.get("/apis/nobody.example/v1/things")
    assert (answer.status, answer.body) == (404, "404 page not found\n")


def test_a_namespace_must_exist_before_its_content(api, config):
    answer = api.post("/api/v1/namespaces/nowhere/configmaps", config())
    assert (answer.status, answer.message) == (404, 'namespaces "nowhere" not found')


def test_a_dry_run_needs_the_namespace_too(api, config):
    assert api.post("/api/v1/namespaces/nowhere/configmaps?dryRun=All", config()).status == 404


def test_generate_name_appends_five_characters(api, config):
    body = {"metadata": {"generateName": "conf-"}}
    name = api.post("configmaps", body).body["metadata"]["name"]
    assert name.startswith("conf-")
    assert len(name) == 10


def test_an_object_without_any_name_is_invalid(api):
    answer = api.post("configmaps", {"metadata": {}})
    assert (answer.status, answer.causes[0]["field"]) == (422, "metadata.name")


def test_the_body_must_be_of_the_endpoints_kind(api, deployment):
    answer = api.post("configmaps", deployment())
    assert answer.status == 400
    assert 'Deployment in version "v1" cannot be handled as a ConfigMap' in answer.message


def test_the_bodys_namespace_must_be_the_paths(api, config):
    assert api.post("configmaps", config(metadata={"namespace": "other"})).status == 400


def test_an_update_replaces_and_raises_the_version(api, config):
    created = api.post("configmaps", config(a="1", b="2"))
    updated = api.put("configmaps/conf", config(a="3"))
    assert updated.status == 200
    assert updated.body["data"] == {"a": "3"}
    assert updated.rv > created.rv
    assert updated.body["metadata"]["uid"] == created.body["metadata"]["uid"]


def test_an_update_with_a_stale_version_conflicts(api, config):
    created = api.post("configmaps", config(a="1")).body
    api.put("configmaps/conf", config(a="2"))
    answer = api.put("configmaps/conf", created)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.message
    assert not answer.causes


def test_an_update_of_another_uid_conflicts(api, config):
    created = api.post("configmaps", config(a="1")).body
    api.delete("configmaps/conf")
    api.post("configmaps", config(a="1"))
    created["metadata"].pop("resourceVersion")
    answer = api.put("configmaps/conf", created)
    assert answer.status == 409
    assert "Precondition failed: UID in precondition" in answer.message


def test_an_update_that_changes_nothing_keeps_the_version(api, config):
    created = api.post("configmaps", config(a="1"))
    assert api.put("configmaps/conf", config(a="1")).rv == created.rv


def test_updating_what_is_not_there_is_not_found(api, config):
    assert api.put("configmaps/conf", config()).status == 404


def test_the_generation_counts_changes_of_the_spec_only(api, deployment):
    api.post("deployments", deployment())
    labelled = api.patch("deployments/web", {"metadata": {"labels": {"x": "y"}}})
    assert labelled.body["metadata"]["generation"] == 1
    scaled = api.patch("deployments/web", {"spec": {"replicas": 3}})
    assert scaled.body["metadata"]["generation"] == 2


def test_status_is_written_through_its_own_endpoint_only(api, deployment):
    body = api.post("deployments", {**deployment(), "status": {"replicas": 7}}).body
    assert body["status"] == {}
    body["status"] = {"replicas": 7}
    assert api.put("deployments/web", body).body["status"] == {}
    body["spec"]["replicas"] = 9
    answer = api.put("deployments/web/status", body)
    assert answer.body["status"] == {"replicas": 7}
    assert answer.body["spec"]["replicas"] == 1
    assert answer.body["metadata"]["generation"] == 1


def test_lists_carry_a_version_and_bare_items(api, config):
    api.post("configmaps", config("b"))
    api.post("configmaps", config("a"))
    answer = api.get("configmaps")
    assert answer.body["kind"] == "ConfigMapList"
    assert [i["metadata"]["name"] for i in answer.body["items"]] == ["a", "b"]
    assert "kind" not in answer.body["items"][0]
    assert answer.rv > 0


def test_a_list_over_all_namespaces_includes_each(api, config):
    api.post("configmaps", config("a"))
    api.post("/api/v1/namespaces/default/configmaps", config("b"))
    names = [i["metadata"]["name"] for i in api.get("/api/v1/configmaps").body["items"]]
    assert names == ["b", "a"]


def test_label_selectors_know_equality_sets_and_presence(api, config):
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {"y": "1"})):
        api.post("configmaps", config(name, metadata={"labels": labels}))

    def chosen(selector: str) -> str:
        items = api.get(f"configmaps?labelSelector={selector}").body["items"]
        return "".join(i["metadata"]["name"] for i in items)

    assert chosen("x=1") == "a"
    assert chosen("x%3D%3D1") == "a"
    assert chosen("x!=1") == "bc"
    assert chosen("x in (1,2)") == "ab"
    assert chosen("x notin (1)") == "bc"
    assert chosen("x") == "ab"
    assert chosen("!x") == "c"
    assert chosen("x,x!=2") == "a"


def test_field_selectors_find_pods_by_node_and_phase(api, pod):
    api.post("pods", pod("a", node="one"))
    api.post("pods", pod("b"))

    def chosen(selector: str) -> list[str]:
        return [i["metadata"]["name"] for i in api.get(f"pods?fieldSelector={selector}").body["items"]]

    assert chosen("spec.nodeName=one") == ["a"]
    assert chosen("spec.nodeName=") == ["b"]
    assert chosen("status.phase=Pending,metadata.name=b") == ["b"]
    assert chosen("metadata.name!=a") == ["b"]


def test_events_are_found_by_the_object_they_are_about(api):
    for name, kind in (("a", "Pod"), ("b", "Node")):
        about = {"kind": kind, "name": "x", "namespace": "shop"}
        event = {"metadata": {"name": name}, "involvedObject": about, "reason": "R", "type": "Normal"}
        assert api.post("events", event).status == 201
    items = api.get("events?fieldSelector=involvedObject.kind=Pod,reason=R,type=Normal").body["items"]
    assert [i["metadata"]["name"] for i in items] == ["a"]


def test_an_unsupported_field_selector_is_refused(api):
    answer = api.get("configmaps?fieldSelector=data.x=1")
    assert (answer.status, answer.message) == (400, "field label not supported: data.x")


def test_a_long_list_comes_in_pages(api, config):
    for number in range(5):
        api.post("configmaps", config(f"c{number}"))
    first = api.get("configmaps?limit=2").body
    assert [i["metadata"]["name"] for i in first["items"]] == ["c0", "c1"]
    assert first["metadata"]["remainingItemCount"] == 3
    second = api.get(f"configmaps?limit=3&continue={first['metadata']['continue']}").body
    assert [i["metadata"]["name"] for i in second["items"]] == ["c2", "c3", "c4"]
    assert "continue" not in second["metadata"]


def test_a_page_of_the_forgotten_past_is_expired(server, api, config):
    for number in range(3):
        api.post("configmaps", config(f"c{number}"))
    token = api.get("configmaps?limit=1").body["metadata"]["continue"]
    api.post("configmaps", config("later"))
    server.store.forget_history()
    answer = api.get(f"configmaps?limit=1&continue={token}")
    assert (answer.status, answer.body["reason"]) == (410, "Expired")


def test_a_list_of_the_future_is_refused_with_a_timeout(api):
    answer = api.get("configmaps?resourceVersion=999999")
    assert answer.status == 504
    assert answer.message.startswith("Too large resource version")


def test_an_exact_list_of_the_past_is_expired(api, config):
    past = api.post("configmaps", config("a")).rv
    api.post("configmaps", config("b"))
    answer = api.get(f"configmaps?resourceVersion={past}&resourceVersionMatch=Exact")
    assert answer.status == 410


def test_deleting_a_collection_takes_the_selected_ones(api, config):
    api.post("configmaps", config("a", metadata={"labels": {"x": "1"}}))
    api.post("configmaps", config("b"))
    answer = api.delete("configmaps?labelSelector=x=1")
    assert [i["metadata"]["name"] for i in answer.body["items"]] == ["a"]
    assert [i["metadata"]["name"] for i in api.get("configmaps").body["items"]] == ["b"]


def test_methods_that_make_no_sense_are_refused(api, config):
    answer = api.put("configmaps", config())
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


def test_a_body_over_three_mebibytes_is_too_large(api, config):
    answer = api.post("configmaps", config(a="x" * (3 * 1024 * 1024)))
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


def test_a_body_that_is_no_json_is_a_bad_request(api):
    assert api.post("configmaps", b"{nope").status == 400


def test_yaml_bodies_are_read_where_the_content_type_says_so(api):
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dated}\ndata: {when: '2024-01-01'}\n"
    answer = api.ask("POST", "configmaps", body, kind="application/yaml")
    assert answer.body["data"] == {"when": "2024-01-01"}


def test_a_dry_run_create_answers_with_identity_but_no_version(api, config):
    answer = api.post("configmaps?dryRun=All", config())
    assert answer.status == 201
    assert answer.body["metadata"]["uid"]
    assert "resourceVersion" not in answer.body["metadata"]
    assert api.get("configmaps/conf").status == 404


def test_a_dry_run_update_shows_the_result_and_changes_nothing(api, config):
    before = api.post("configmaps", config(a="1"))
    answer = api.put("configmaps/conf?dryRun=All", config(a="2"))
    assert answer.body["data"] == {"a": "2"}
    assert answer.rv == before.rv
    assert api.get("configmaps/conf").body["data"] == {"a": "1"}


def test_dry_run_knows_only_all(api, config):
    assert api.post("configmaps?dryRun=Some", config()).status == 422


def test_everybody_may_do_everything(api):
    body = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}}
    answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert (answer.status, answer.body["status"]["allowed"]) == (201, True)


def test_scale_reads_and_writes_the_replicas_of_any_workload(api, deployment):
    api.post("deployments", deployment(replicas=2))
    scale = api.get("deployments/web/scale").body
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == (
        "Scale",
        {"replicas": 2},
        "app=web",
    )
    scale["spec"]["replicas"] = 5
    assert api.put("deployments/web/scale", scale).body["spec"] == {"replicas": 5}
    live = api.get("deployments/web").body
    assert (live["spec"]["replicas"], live["metadata"]["generation"]) == (5, 2)
    owner = next(m for m in live["metadata"]["managedFields"] if m.get("subresource") == "scale")
    assert owner["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_a_stale_scale_conflicts(api, deployment):
    api.post("deployments", deployment())
    scale = api.get("deployments/web/scale").body
    api.patch("deployments/web", {"metadata": {"labels": {"x": "y"}}})
    assert api.put("deployments/web/scale", scale).status == 409


def test_connections_are_kept_alive(server, api):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok"
    sock = connection.sock
    connection.request("GET", "/livez")
    assert connection.getresponse().read() == b"ok"
    assert connection.sock is sock
    connection.close()


def test_yaml_has_the_real_servers_scalars_and_limits(api):
    body = b"metadata: {name: frozen}\nimmutable: yes\n"
    assert api.ask("POST", "configmaps", body, kind="application/yaml").body["immutable"] is True
    wrong = b"metadata: {name: y}\n"
    assert api.ask("POST", "configmaps", wrong, kind="application/yaml").status == 400
    bomb = b"a: &a [x, x, x, x, x, x, x, x, x]\n"
    for here, there in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"{here}: &{here} [{', '.join([f'*{there}'] * 9)}]\n".encode()
    assert api.ask("POST", "configmaps", bomb, kind="application/yaml").status == 400


def test_numbers_json_does_not_have_are_refused(api):
    assert api.post("configmaps", b'{"metadata": {"name": "a"}, "data": {"a": NaN}}').status == 400


def test_hopelessly_nested_json_is_a_bad_request(api):
    assert api.post("configmaps", b'{"a":' * 100_000).status == 400


def test_query_parameters_must_be_numbers_where_numbers_are_meant(api, config):
    assert api.get("configmaps?limit=many").status == 400
    api.post("configmaps", config())
    assert api.delete("configmaps/conf?gracePeriodSeconds=soon").status == 422


def test_concurrent_writers_with_versions_lose_nothing(api, config):
    import threading

    api.post("configmaps", config(n="0"))

    def count():
        done = 0
        while done < 20:
            body = api.get("configmaps/conf").body
            body["data"]["n"] = str(int(body["data"]["n"]) + 1)
            done += api.put("configmaps/conf", body).status == 200

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.get("configmaps/conf").body["data"]["n"] == "80"
