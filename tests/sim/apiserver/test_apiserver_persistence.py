"""Objects survive a kill."""

import json
import signal
import subprocess
import sys

import pytest

from tidegate.sim.apiserver import ApiServer


@pytest.fixture
def start(tmp_path):
    processes = []

    def start(port=0):
        argv = [
            sys.executable,
            "-m",
            "tidegate.sim.apiserver",
            "--data",
            str(tmp_path / "data"),
            "--port",
            str(port),
        ]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())["url"]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_server_comes_back_with_everything(start, connect, config, widgets):
    process, url = start()
    api = connect(url)
    api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets())
    path = "/apis/example.com/v1/namespaces/shop/widgets"
    api.post(path, {"metadata": {"name": "w"}, "spec": {"size": 1}})
    api.post("configmaps", config("gone"))
    api.delete("configmaps/gone")
    kept = api.post("configmaps", config("kept", a="1"))
    process.kill()
    process.wait()
    api = connect(start()[1])
    assert api.get("configmaps/kept").body == kept.body
    assert api.get("configmaps/gone").status == 404
    assert api.get(f"{path}/w").body["spec"]["size"] == 1
    assert api.post("configmaps", config("later")).rv > kept.rv


def test_a_watch_resumes_over_a_restart(start, connect, config):
    process, url = start()
    api = connect(url)
    api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    since = api.post("configmaps", config("a")).rv
    api.post("configmaps", config("b"))
    process.kill()
    process.wait()
    api = connect(start()[1])
    events = api.watch(f"configmaps?watch=1&resourceVersion={since}&timeoutSeconds=1")
    assert [e["object"]["metadata"]["name"] for e in events] == ["b"]


def test_a_torn_last_line_is_forgotten(tmp_path, connect, config):
    with ApiServer(data=tmp_path) as server:
        api = connect(server.url)
        api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        api.post("configmaps", config("a"))
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'[99,"","configmaps","shop","half",{"kind":"Conf')
    for _ in range(2):
        with ApiServer(data=tmp_path) as server:
            api = connect(server.url)
            names = [i["metadata"]["name"] for i in api.get("configmaps").body["items"]]
            assert names[0] == "a"
            api.post("configmaps", config("b"))


def test_a_deletion_under_way_is_finished_after_a_restart(tmp_path, connect, config):
    with ApiServer(data=tmp_path) as server:
        api = connect(server.url)
        api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        api.post("configmaps", config("a", metadata={"finalizers": ["a.example/x"]}))
        api.delete("/api/v1/namespaces/shop")
        api.until(lambda: api.get("configmaps/a").body["metadata"].get("deletionTimestamp"))
    with ApiServer(data=tmp_path) as server:
        api = connect(server.url)
        api.patch("configmaps/a", {"metadata": {"finalizers": None}})
        api.until(lambda: api.get("/api/v1/namespaces/shop").status == 404)


def test_long_histories_are_compacted(tmp_path, connect, config, monkeypatch):
    monkeypatch.setattr("tidegate.sim.apiserver.store.COMPACT_AFTER", 50)
    with ApiServer(data=tmp_path) as server:
        api = connect(server.url)
        api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
        api.post("configmaps", config("a"))
        for number in range(120):
            last = api.put("configmaps/a", config("a", n=str(number)))
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) < 60
    with ApiServer(data=tmp_path) as server:
        api = connect(server.url)
        assert api.get("configmaps/a").body == last.body
        assert api.post("configmaps", config("b")).rv > last.rv


def test_the_process_stops_on_sigterm(start):
    process, _ = start()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
