"""Watches see every change once, in order, and say so when they cannot."""

import threading
import time


def names(events):
    return [(e["type"], e["object"]["metadata"]["name"]) for e in events]


def test_a_watch_without_a_version_begins_with_what_is_there(api, config):
    api.post("configmaps", config("a"))
    api.post("configmaps", config("b"))
    assert names(api.watch("configmaps?watch=1&timeoutSeconds=1")) == [("ADDED", "a"), ("ADDED", "b")]


def test_a_watch_from_a_version_sees_only_what_came_after(api, config):
    since = api.post("configmaps", config("a")).rv
    api.post("configmaps", config("b"))
    api.put("configmaps/a", config("a", x="1"))
    api.delete("configmaps/b")
    events = api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=1")
    assert names(events) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


def test_versions_in_a_watch_only_rise(api, config):
    since = api.get("configmaps").rv
    api.post("configmaps", config("a"))
    api.put("configmaps/a", config("a", x="1"))
    api.delete("configmaps/a")
    events = api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=1")
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(set(versions))
    assert versions[0] > since


def test_changes_arrive_while_the_watch_is_open(api, config):
    since = api.get("configmaps").rv
    writer = threading.Timer(0.3, lambda: api.post("configmaps", config("late")))
    writer.start()
    events = api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=2")
    writer.join()
    assert names(events) == [("ADDED", "late")]


def test_a_watch_ends_after_its_timeout(api):
    began = time.monotonic()
    api.watch("configmaps?watch=1&timeoutSeconds=1")
    assert 0.9 < time.monotonic() - began < 5


def test_an_object_that_stops_matching_is_deleted_for_the_watcher(api, config):
    since = api.post("configmaps", config("a", metadata={"labels": {"x": "1"}})).rv
    api.patch("configmaps/a", {"metadata": {"labels": {"x": "2"}}})
    api.patch("configmaps/a", {"metadata": {"labels": {"x": "1"}}})
    query = f"configmaps?watch=1&resourceVersion={since}&labelSelector=x=1&timeoutSeconds=1"
    assert names(api.watch(query)) == [("DELETED", "a"), ("ADDED", "a")]


def test_a_watch_of_one_object_sees_only_that_one(api, config):
    api.post("configmaps", config("a"))
    api.post("configmaps", config("b"))
    events = api.watch("configmaps?watch=1&fieldSelector=metadata.name=b&timeoutSeconds=1")
    assert names(events) == [("ADDED", "b")]


def test_a_watch_of_one_namespace_does_not_see_another(api, config):
    since = api.get("configmaps").rv
    api.post("/api/v1/namespaces/default/configmaps", config("a"))
    assert api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=1") == []


def test_an_expired_version_is_an_error_event_in_a_good_answer(server, api, config):
    since = api.post("configmaps", config("a")).rv
    api.post("configmaps", config("b"))
    server.store.forget_history()
    events = api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=1")
    assert [e["type"] for e in events] == ["ERROR"]
    assert events[0]["object"]["kind"] == "Status"
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")


def test_a_version_of_the_future_is_refused(api):
    answer = api.get("configmaps?watch=1&resourceVersion=999999&timeoutSeconds=1")
    assert answer.status == 504
    assert answer.message.startswith("Too large resource version")


def test_bookmarks_carry_the_version_of_other_kinds_writes(api, config):
    since = api.get("secrets").rv
    later = api.post("configmaps", config("a")).rv
    query = f"secrets?watch=1&resourceVersion={since}&allowWatchBookmarks=true&timeoutSeconds=3"
    events = api.watch(query)
    assert [e["type"] for e in events] == ["BOOKMARK"]
    assert int(events[0]["object"]["metadata"]["resourceVersion"]) >= later
    assert events[0]["object"]["kind"] == "Secret"


def test_a_bookmark_without_news_is_not_sent(api):
    since = api.get("secrets").rv
    assert (
        api.watch(f"secrets?watch=1&resourceVersion={since}&allowWatchBookmarks=true&timeoutSeconds=3") == []
    )


def test_no_bookmarks_unless_asked_for(api):
    since = api.get("secrets").rv
    assert api.watch(f"secrets?watch=1&resourceVersion={since}&timeoutSeconds=3") == []


def test_a_streamed_list_ends_with_an_annotated_bookmark(api, config):
    api.post("configmaps", config("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = api.watch(f"configmaps?watch=1&{query}&timeoutSeconds=1")
    assert [e["type"] for e in events][:2] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_stopping_the_server_ends_its_watches(server, api):
    stopper = threading.Timer(0.3, server.stop)
    stopper.start()
    began = time.monotonic()
    try:
        api.watch("configmaps?watch=1&timeoutSeconds=30")
    except Exception as error:
        assert "Connection" in repr(error) or "Protocol" in repr(error)  # noqa: PT017
    stopper.join()
    assert time.monotonic() - began < 10


def test_many_watchers_all_see_a_write(api, config):
    since = api.get("configmaps").rv
    seen = []

    def watch():
        seen.append(names(api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=2")))

    watchers = [threading.Thread(target=watch) for _ in range(8)]
    for watcher in watchers:
        watcher.start()
    for number in range(20):
        api.post("configmaps", config(f"c{number}"))
    for watcher in watchers:
        watcher.join()
    assert seen == [[("ADDED", f"c{number}") for number in range(20)]] * 8
