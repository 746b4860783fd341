"""Deletion: at once, gracefully, after others agreed, and what goes along."""


def owner(body, **more):
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "name": body["metadata"]["name"],
        "uid": body["metadata"]["uid"],
        **more,
    }


def gone(api, path):
    return api.until(lambda: api.get(path).status == 404)


def test_deleting_answers_with_a_success_status(api, config):
    uid = api.post("configmaps", config()).body["metadata"]["uid"]
    answer = api.delete("configmaps/conf")
    assert (answer.status, answer.body["status"]) == (200, "Success")
    assert answer.body["details"] == {"name": "conf", "kind": "configmaps", "uid": uid}
    assert api.get("configmaps/conf").status == 404
    assert api.delete("configmaps/conf").status == 404


def test_a_dry_run_deletes_nothing(api, config):
    api.post("configmaps", config())
    assert api.delete("configmaps/conf", {"dryRun": ["All"]}).status == 200
    assert api.get("configmaps/conf").status == 200


def test_a_delete_can_demand_a_uid(api, config):
    api.post("configmaps", config())
    answer = api.delete("configmaps/conf", {"preconditions": {"uid": "another"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert "the UID in the precondition (another) does not match the UID in record" in answer.message
    assert api.get("configmaps/conf").status == 200


def test_a_delete_can_demand_a_version(api, config):
    rv = api.post("configmaps", config()).rv
    api.patch("configmaps/conf", {"data": {"a": "1"}})
    assert api.delete("configmaps/conf", {"preconditions": {"resourceVersion": str(rv)}}).status == 409


def test_a_finalizer_holds_the_object_until_it_is_removed(api, config):
    api.post("configmaps", config(metadata={"finalizers": ["a.example/x"]}))
    answer = api.delete("configmaps/conf")
    assert answer.body["metadata"]["deletionTimestamp"]
    assert api.get("configmaps/conf").status == 200
    api.patch("configmaps/conf", {"metadata": {"finalizers": None}})
    assert api.get("configmaps/conf").status == 404


def test_no_finalizer_is_added_to_what_is_being_deleted(api, config):
    api.post("configmaps", config(metadata={"finalizers": ["a.example/x"]}))
    api.delete("configmaps/conf")
    answer = api.patch("configmaps/conf", {"metadata": {"finalizers": ["a.example/x", "b.example/y"]}})
    assert (answer.status, answer.causes[0]["reason"]) == (422, "FieldValueForbidden")
    assert "no new finalizers can be added" in answer.message


def test_a_pod_on_no_node_goes_at_once(api, pod):
    api.post("pods", pod())
    answer = api.delete("pods/p")
    assert answer.body["kind"] == "Pod"
    assert api.get("pods/p").status == 404


def test_a_pod_on_a_node_waits_for_its_kubelet(api, pod):
    api.post("pods", pod(node="one"))
    metadata = api.delete("pods/p").body["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 30
    assert api.get("pods/p").status == 200
    api.delete("pods/p", {"gracePeriodSeconds": 0})
    assert api.get("pods/p").status == 404


def test_the_grace_can_only_shrink(api, pod):
    api.post("pods", pod(node="one"))
    api.delete("pods/p", {"gracePeriodSeconds": 10})
    assert api.delete("pods/p").body["metadata"]["deletionGracePeriodSeconds"] == 10
    assert api.delete("pods/p?gracePeriodSeconds=3").body["metadata"]["deletionGracePeriodSeconds"] == 3


def test_a_finished_pod_goes_at_once(api, pod):
    api.post("pods", pod(node="one"))
    api.patch("pods/p/status", {"status": {"phase": "Succeeded"}})
    api.delete("pods/p")
    assert api.get("pods/p").status == 404


def test_an_eviction_is_a_graceful_delete(api, pod):
    api.post("pods", pod(node="one"))
    assert api.post("pods/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction"}).status == 201
    assert api.get("pods/p").body["metadata"]["deletionTimestamp"]


def test_dependents_follow_their_owner_in_the_background(api, config):
    parent = api.post("configmaps", config("parent")).body
    child = api.post("configmaps", config("child", metadata={"ownerReferences": [owner(parent)]})).body
    api.post("configmaps", config("grandchild", metadata={"ownerReferences": [owner(child)]}))
    api.delete("configmaps/parent")
    assert api.get("configmaps/parent").status == 404
    gone(api, "configmaps/child")
    gone(api, "configmaps/grandchild")


def test_a_dependent_with_another_owner_stays(api, config):
    owners = [owner(api.post("configmaps", config(name)).body) for name in ("one", "two")]
    api.post("configmaps", config("child", metadata={"ownerReferences": owners}))
    api.delete("configmaps/one")

    def owned_by() -> list[str]:
        references = api.get("configmaps/child").body["metadata"]["ownerReferences"]
        return [reference["name"] for reference in references]

    api.until(lambda: owned_by() == ["two"])


def test_foreground_keeps_the_owner_until_its_blocking_dependents_are_gone(api, config):
    parent = api.post("configmaps", config("parent")).body
    blocking = [owner(parent, blockOwnerDeletion=True)]
    api.post(
        "configmaps", config("child", metadata={"ownerReferences": blocking, "finalizers": ["a.example/x"]})
    )
    answer = api.delete("configmaps/parent", {"propagationPolicy": "Foreground"})
    assert answer.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.until(lambda: api.get("configmaps/child").body["metadata"].get("deletionTimestamp"))
    assert api.get("configmaps/parent").status == 200
    api.patch("configmaps/child", {"metadata": {"finalizers": None}})
    gone(api, "configmaps/parent")


def test_orphaned_dependents_lose_their_reference_and_live(api, config):
    parent = api.post("configmaps", config("parent")).body
    api.post("configmaps", config("child", metadata={"ownerReferences": [owner(parent)]}))
    api.delete("configmaps/parent", {"propagationPolicy": "Orphan"})
    gone(api, "configmaps/parent")
    assert "ownerReferences" not in api.get("configmaps/child").body["metadata"]


def test_an_object_whose_owner_never_was_is_collected(api, config):
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "no-such-uid"}
    api.post("configmaps", config("child", metadata={"ownerReferences": [nobody]}))
    gone(api, "configmaps/child")


def test_a_deleted_namespace_takes_its_content_along(api, config, deployment):
    api.post("configmaps", config())
    api.post("deployments", deployment())
    answer = api.delete("/api/v1/namespaces/shop")
    assert answer.body["status"]["phase"] == "Terminating"
    gone(api, "/api/v1/namespaces/shop")
    assert api.get("configmaps").body["items"] == []
    assert api.get("deployments").body["items"] == []


def test_a_terminating_namespace_says_what_it_waits_for_and_takes_nothing_new(api, config):
    api.post("configmaps", config(metadata={"finalizers": ["a.example/x"]}))
    api.delete("/api/v1/namespaces/shop")
    conditions = api.until(lambda: api.get("/api/v1/namespaces/shop").body["status"].get("conditions"))
    assert "configmaps has 1 resource instances" in conditions[0]["message"]
    answer = api.post("configmaps", config("new"))
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert answer.causes[0]["reason"] == "NamespaceTerminating"
    assert api.apply("configmaps/new", config("new")).status == 403
    api.patch("configmaps/conf", {"metadata": {"finalizers": None}})
    gone(api, "/api/v1/namespaces/shop")


def test_the_default_namespace_cannot_be_deleted(api):
    assert api.delete("/api/v1/namespaces/default").status == 403


def test_the_deleted_objects_last_state_is_in_the_watch(api, config):
    rv = api.post("configmaps", config(a="1")).rv
    api.delete("configmaps/conf")
    events = api.watch(f"configmaps?watch=1&resourceVersion={rv}&timeoutSeconds=1")
    assert [e["type"] for e in events] == ["DELETED"]
    assert events[0]["object"]["data"] == {"a": "1"}
    assert int(events[0]["object"]["metadata"]["resourceVersion"]) > rv


def test_an_unknown_propagation_policy_is_refused(api, config):
    api.post("configmaps", config())
    assert api.delete("configmaps/conf", {"propagationPolicy": "Sometimes"}).status == 422
