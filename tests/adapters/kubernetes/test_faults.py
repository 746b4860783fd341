"""The API server throttles, fails, hangs, and drops connections before and after the write."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes import Settings, build
from tidegate.adapters.targets.kubernetes.connection import connect
from tidegate.adapters.targets.kubernetes.failures import failure
from tidegate.adapters.targets.kubernetes.rest import Request, Rest
from tidegate.domain.manifests import Ref
from tidegate.errors import Conflict, NotFound, Rejected, SpecError, Unreachable
from tidegate.sim.apiserver import ApiServer, Fault

A = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}'


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def rest(kubeconfig: Path, slept: list[float]) -> Rest:
    return Rest(partial(connect, kubeconfig, None), sleep=slept.append)


def get(rest: Rest, path: str = "/api/v1/namespaces") -> Any:
    return rest.send(Request("GET", path, "namespaces"))


def test_throttling_is_waited_out_as_long_as_the_server_asks(
    server: ApiServer, rest: Rest, slept: list[float]
) -> None:
    server.faults.add(Fault(status=429, retry_after=7, count=3))
    assert get(rest)["kind"] == "NamespaceList"
    assert slept == [7, 7, 7]


def test_a_server_that_wants_an_hour_is_not_waited_for(
    server: ApiServer, rest: Rest, slept: list[float]
) -> None:
    server.faults.add(Fault(status=429, retry_after=3600, count=None))
    with pytest.raises(Unreachable, match=r"throttled.*come back in 3600 s") as caught:
        get(rest)
    assert caught.value.retry_after == 3600
    assert sum(slept) <= 60


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_server_is_asked_five_times_with_growing_pauses(
    server: ApiServer, rest: Rest, slept: list[float], status: int
) -> None:
    server.faults.add(Fault(status=status, count=4))
    assert get(rest)["kind"] == "NamespaceList"
    assert len(slept) == 4
    assert all(0.05 < s < 4 for s in slept)
    server.faults.add(Fault(status=status, count=None))
    with pytest.raises(Unreachable, match="namespaces: the API server"):
        get(rest)


def test_a_write_whose_answer_was_lost_happens_once(server: ApiServer, world: Any) -> None:
    server.faults.add(Fault(method="PATCH", path="configmaps/a.*force=true$", drop="after", count=2))
    _, done = world.deploy(A)
    assert done.problems == ()
    world.requests.clear()
    assert world.look(A).writes == ()
    assert world.get("ConfigMap", "a")["data"] == {"x": "1"}


def test_a_prune_whose_answer_was_lost_is_no_problem(server: ApiServer, world: Any) -> None:
    world.deploy(A + "\n---\n" + A.replace('"a"', '"b"'))
    server.faults.add(Fault(method="DELETE", drop="after"))
    _, done = world.deploy(A)
    assert [str(r) for r in done.pruned] == ["ConfigMap shop/b"]
    assert done.problems == ()


def test_the_fence_is_asked_again_before_a_write_is_repeated(server: ApiServer, rest: Rest) -> None:
    server.faults.add(Fault(method="DELETE", status=503, count=2))
    asked: list[int] = []
    with pytest.raises(NotFound):
        rest.send(
            Request("DELETE", "/api/v1/namespaces/x", "namespace x", fence=lambda: asked.append(len(asked)))
        )
    assert asked == [0, 1, 2]


def test_a_server_that_hangs_is_given_up_within_the_deadline(server: ApiServer, rest: Rest) -> None:
    server.faults.add(Fault(delay=3, count=None))
    start = time.monotonic()
    with pytest.raises(Unreachable, match="did not answer within"):
        rest.send(Request("GET", "/api/v1/namespaces", "namespaces", timeout=0.3))
    assert time.monotonic() - start < 1.5


def test_nobody_at_the_address_is_unreachable(tmp_path: Path, server: ApiServer, slept: list[float]) -> None:
    file = server.write_kubeconfig(tmp_path / "gone")
    server.stop()
    with pytest.raises(Unreachable, match=r"namespaces: http://127\.0\.0\.1:\d+ cannot be reached"):
        get(Rest(partial(connect, file, None), sleep=slept.append))
    assert len(slept) == 4


def test_an_expired_token_is_read_again_once(server: ApiServer, kubeconfig: Path) -> None:
    connects: list[int] = []

    def connecting() -> Any:
        connects.append(1)
        return connect(kubeconfig, None)

    rest = Rest(connecting)
    server.faults.add(Fault(status=401))
    assert get(rest)["kind"] == "NamespaceList"
    assert len(connects) == 2
    server.faults.add(Fault(status=401, count=None))
    with pytest.raises(Rejected, match="does not know us"):
        get(rest)


def test_a_list_whose_token_expired_starts_over(server: ApiServer, world: Any) -> None:
    many = "\n---\n".join(A.replace('"a"', f'"c{i}"') for i in range(620))
    world.deploy(many)
    server.faults.add(Fault(method="GET", path="continue=", status=410))
    names = {m["metadata"]["name"] for m in world.cluster.list("v1", "ConfigMap")}
    assert len(names) == 621


def test_one_object_that_cannot_be_written_does_not_keep_the_others_back(
    server: ApiServer, world: Any
) -> None:
    both = A + "\n---\n" + A.replace('"a"', '"b"')
    world.deploy(both + "\n---\n" + A.replace('"a"', '"old"'))
    changed = both.replace('"1"', '"2"')
    plan = world.look(changed)
    server.faults.add(Fault(method="PATCH", path="configmaps/a", status=403, message="no", count=None))
    done = world.cluster.apply(world.owner, plan, fence=lambda: None)
    assert [str(r) for r in done.applied] == ["ConfigMap shop/b"]
    assert done.problems[0].startswith("ConfigMap shop/a: not allowed (403): ")
    assert world.get("ConfigMap", "old") is not None, "nothing is pruned when something went wrong"
    server.faults.clear()
    _, done = world.deploy(changed)
    assert [str(r) for r in done.pruned] == ["ConfigMap shop/old"]


def test_a_server_that_goes_away_is_not_asked_for_every_object(server: ApiServer, world: Any) -> None:
    many = "\n---\n".join(A.replace('"a"', f'"c{i}"') for i in range(200))
    plan = world.look(many)
    server.faults.add(Fault(method="PATCH", path="configmaps/c", status=503, retry_after=90, count=None))
    world.requests.clear()
    with pytest.raises(Unreachable):
        world.cluster.apply(world.owner, plan, fence=lambda: None)
    assert len(world.requests.writes) < 50


def test_an_apply_cut_off_by_the_server_is_finished_by_the_next(server: ApiServer, world: Any) -> None:
    plan = world.look(A)
    server.faults.add(Fault(method="PATCH", path="configmaps/a", status=503, retry_after=90, count=None))
    with pytest.raises(Unreachable):
        world.cluster.apply(world.owner, plan, fence=lambda: None)
    server.faults.clear()
    _, done = world.deploy(A)
    assert [str(r) for r in done.applied] == ["ConfigMap shop/a"]


def test_a_context_that_is_not_there_is_our_users_to_correct(kubeconfig: Path) -> None:
    cluster = build(Settings(kubeconfig=kubeconfig, context="prod"))
    with pytest.raises(SpecError, match="prod: cannot be used"):
        cluster.read([Ref("", "ConfigMap", "shop", "a")])


@pytest.mark.parametrize("text", ["", "not: [yaml", "a: b"])
def test_a_broken_kubeconfig_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken"
    file.write_text(text)
    with pytest.raises(SpecError, match="cannot be used"):
        build(Settings(kubeconfig=file)).read([Ref("", "ConfigMap", "shop", "a")])


def test_many_threads_share_one_target(world: Any) -> None:
    world.deploy(A)
    wrong: list[Any] = []

    def reading() -> None:
        for _ in range(20):
            live = world.get("ConfigMap", "a")
            if live["data"] != {"x": "1"}:
                wrong.append(live)

    threads = [threading.Thread(target=reading) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- what the answers mean ----------------------------------------------------------------------------------

CONFLICT = b"""{"kind":"Status","status":"Failure","message":"Apply failed with 1 conflict","reason":"Conflict",
"details":{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \\"helm\\"","field":".data.k"}]}}"""
TYPED = b'{"kind":"Status","message":"failed to create typed patch object (x): .spec.y: field not declared in schema"}'
TERMINATING = b'{"kind":"Status","message":"x","details":{"causes":[{"reason":"NamespaceTerminating"}]}}'


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (409, CONFLICT, Conflict, 'fields belong to others: .data.k: conflict with "helm"'),
        (409, b'{"kind":"Status","message":"stale"}', Conflict, "somebody else changed it first: stale"),
        (500, TYPED, Rejected, "cannot be applied: failed to create typed patch object"),
        (500, b"etcdserver: request is too large", Rejected, "too large"),
        (500, b"boom", Unreachable, "failed (500): boom"),
        (403, TERMINATING, Unreachable, "its namespace is being deleted"),
        (403, b"no", Rejected, "not allowed (403): no; grant it in a Role"),
        (404, b"404 page not found", NotFound, "404 page not found"),
        (413, b"", Rejected, "refused (413): no reason given"),
        (422, b'{"kind":"Status","message":"spec.x: Invalid"}', Rejected, "refused (422): spec.x: Invalid"),
    ],
)
def test_every_answer_has_its_class_and_its_words(status: int, body: bytes, kind: type, said: str) -> None:
    error = failure("Deployment shop/web", status, {}, body)
    assert type(error).__mro__[0] is kind or isinstance(error, kind)
    assert str(error).startswith("Deployment shop/web: ")
    assert said in str(error)


def test_values_of_secrets_are_cut_out_of_every_answer() -> None:
    body = (
        b'{"kind":"Status","reason":"Invalid","message":"Secret \\"s\\" is invalid: data[x]: hunter2",'
        b'"details":{"causes":[{"reason":"FieldValueInvalid","message":"hunter2","field":"data[x]"}]}}'
    )
    for status in (400, 403, 404, 409, 422, 500, 503):
        words = str(failure("Secret shop/s", status, {}, body, secret=True))
        assert "hunter2" not in words
    assert "data[x] (FieldValueInvalid)" in str(failure("Secret shop/s", 422, {}, body, secret=True))


def test_a_conflict_about_fields_of_a_secret_shows_no_value() -> None:
    body = CONFLICT.replace(b'conflict with \\"helm\\"', b'conflict with \\"helm\\" hunter2')
    assert "helm" in str(failure("Secret shop/s", 409, {}, body, secret=True))


def test_somebody_who_edits_during_every_sync_never_makes_us_flap(world: Any) -> None:
    world.deploy(A)
    stop = threading.Event()

    def editing() -> None:
        for value in range(100):
            if stop.is_set():
                return
            edited = A.replace('"name": "a"', '"name": "a", "namespace": "shop"').replace('"1"', f'"{value}"')
            world.put(edited, manager="human")

    human = threading.Thread(target=editing)
    human.start()
    for _ in range(10):
        plan, done = world.deploy(A)
        assert done.problems == ()
        assert len(plan.writes) <= 1
    stop.set()
    human.join()
    world.deploy(A)
    assert world.get("ConfigMap", "a")["data"] == {"x": "1"}
    assert world.look(A).writes == ()


def test_a_namespace_on_its_way_out_is_worth_another_try_later(world: Any) -> None:
    held = A.replace('"name": "a"', '"name": "held", "finalizers": ["x.io/hold"]')
    world.deploy(held)
    live = world.get("Namespace", "shop", namespace="")
    world.cluster._objects.delete(Ref("", "Namespace", "", "shop"), uid=live["metadata"]["uid"])
    with pytest.raises(Unreachable, match="ConfigMap shop/a: its namespace is being deleted; try again"):
        world.look(held + "\n---\n" + A)
