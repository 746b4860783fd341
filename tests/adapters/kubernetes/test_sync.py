"""A sync in waves with hooks, on both servers: in which order it writes, what stops it, what it leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.domain.manifests import Ref, read
from tidegate.domain.options import Phase, split
from tidegate.domain.plan import Action
from tidegate.domain.schedule import Hooks
from tidegate.errors import Refused, Unreachable

ARGO = "argocd.argoproj.io/"


def config(name: str, *, wave: int | None = None, options: str = "", **data: str) -> str:
    notes = {**({ARGO + "sync-wave": str(wave)} if wave is not None else {})}
    notes |= {ARGO + "sync-options": options} if options else {}
    meta = {"name": name, "annotations": notes}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def job(name: str, phases: str, *, wave: int = 0, policy: str = "", **notes: str) -> str:
    asked = {ARGO + "hook": phases, ARGO + "sync-wave": str(wave), **notes}
    asked |= {ARGO + "hook-delete-policy": policy} if policy else {}
    pod = {"restartPolicy": "Never", "containers": [{"name": "work", "image": "registry.example/work"}]}
    spec = {"template": {"spec": pod}}
    meta = {"name": name, "annotations": asked}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})


def joined(*texts: str) -> str:
    return "\n---\n".join(texts)


def is_there(world: Any, name: str, kind: str = "Job") -> bool:
    return world.get(kind, name, "batch" if kind == "Job" else "") is not None


PIPELINE = joined(
    config("conf"),
    config("late", wave=10),
    config("early", wave=-5),
    job("migrate", "PreSync"),
    job("before-all", "PreSync", wave=-1),
    job("within", "Sync", wave=-5),
    job("announce", "PostSync"),
    job("alarm", "SyncFail"),
)


def test_hooks_and_waves_are_written_in_their_order(either: Any) -> None:
    plan, result = either.sync(PIPELINE)
    assert not result.failure
    assert "3 to create, 5 hooks to run" in plan.summary() or "3 to create, 4 hooks to run" in plan.summary()
    wanted = ["before-all", "migrate", "early", "within", "conf", "late", "announce"]
    written = dict.fromkeys(name[1:] for name in either.requests.names)
    assert list(written) == wanted
    assert not is_there(either, "alarm"), "only a failure runs it"


def test_a_sync_that_is_done_runs_nothing_again(either: Any) -> None:
    either.sync(PIPELINE)
    again, _ = either.sync(PIPELINE)
    assert not again.acts
    assert again.summary() == "nothing to do: 3 objects are as desired"


def test_the_next_sync_runs_its_hooks_anew(either: Any) -> None:
    either.sync(PIPELINE)
    before = either.get("Job", "migrate", "batch")
    _, result = either.sync(PIPELINE.replace('"data": {}', '"data": {"a": "1"}'), "two")
    assert not result.failure
    assert either.get("Job", "migrate", "batch")["metadata"]["uid"] != before["metadata"]["uid"]


def test_a_failing_presync_hook_ends_the_sync_before_anything_is_applied(either: Any) -> None:
    text = joined(config("conf"), job("migrate", "PreSync", **{"test/fails": ""}), job("alarm", "SyncFail"))
    _, result = either.sync(text)
    assert result.failure == f"PreSync hook Job {either.cluster.namespace}/migrate failed: it did not work"
    assert result.applied == ()
    assert not is_there(either, "conf", "ConfigMap")
    assert is_there(either, "alarm"), "the hook for failures has run"


def test_a_failed_hook_runs_again_with_the_next_try_and_a_done_one_does_not(either: Any) -> None:
    failing = job("check", "PreSync", wave=1, **{"test/fails": ""})
    either.sync(joined(config("conf"), job("migrate", "PreSync"), failing))
    plan, result = either.sync(
        joined(config("conf"), job("migrate", "PreSync"), job("check", "PreSync", wave=1))
    )
    assert [hook.ref.name for hook in plan.pending_hooks] == ["check"]
    assert not result.failure
    assert is_there(either, "conf", "ConfigMap")


@pytest.mark.parametrize(
    ("policy", "fails", "stays"),
    [
        ("BeforeHookCreation", False, True),
        ("HookSucceeded", False, False),
        ("HookSucceeded", True, True),
        ("HookFailed", False, True),
        ("HookFailed", True, False),
        ("HookSucceeded,HookFailed", True, False),
    ],
)
def test_a_hook_goes_when_its_policy_says_so(either: Any, policy: str, fails: bool, stays: bool) -> None:
    notes = {"test/fails": ""} if fails else {}
    _, result = either.sync(joined(config("conf"), job("migrate", "PreSync", policy=policy, **notes)))
    assert bool(result.failure) == fails
    left = either.get("Job", "migrate", "batch")
    assert bool(left and not left["metadata"].get("deletionTimestamp")) == stays


def test_the_result_of_a_hook_that_is_swept_away_as_it_ends_is_still_read(either: Any) -> None:
    _, result = either.sync(joined(config("conf"), job("migrate", "PreSync", **{"test/swept": ""})))
    assert not result.failure
    assert is_there(either, "conf", "ConfigMap")


def test_a_hook_that_does_not_end_in_time_has_failed(either: Any) -> None:
    slow = job("migrate", "PreSync", **{"test/slow": ""})
    _, result = either.sync(joined(config("conf"), slow), seconds=1.0)
    assert result.failure.endswith("not done after 1 s")


def test_a_hook_that_left_the_set_goes_with_the_next_sync_and_stays_in_one_that_leaves_hooks_alone(
    either: Any,
) -> None:
    either.sync(joined(config("conf"), job("migrate", "PreSync")))
    either.deploy(config("conf", a="1"))
    assert is_there(either, "migrate")
    either.sync(config("conf", a="2"), "two")
    assert not is_there(either, "migrate")


def test_phases_that_come_later_wait_for_the_sync_that_names_them(either: Any) -> None:
    text = joined(config("conf"), job("migrate", "PreSync"), job("announce", "PostSync"))
    either.sync(text, phases=frozenset({Phase.PreSync}))
    assert (is_there(either, "migrate"), is_there(either, "announce")) == (True, False)
    before = either.get("Job", "migrate", "batch")
    either.sync(text)
    assert is_there(either, "announce")
    assert either.get("Job", "migrate", "batch")["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_hook_the_server_would_refuse_stops_the_plan_before_the_first_write(either: Any) -> None:
    bad = json.loads(job("migrate", "PreSync"))
    bad["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    with pytest.raises(Refused, match="restartPolicy"):
        either.sync(joined(config("conf"), json.dumps(bad)))
    assert either.requests.names == []


def test_a_later_wave_waits_for_the_health_of_an_earlier_one(either: Any) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "annotations": {ARGO + "sync-wave": "-1"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    _, result = either.sync(joined(config("conf"), json.dumps(claim)), seconds=1.0)
    assert result.failure.startswith("wave -1: not healthy after 1 s: PersistentVolumeClaim")
    assert not is_there(either, "conf", "ConfigMap")


def test_one_wave_without_hooks_is_done_when_it_is_applied(either: Any) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    _, result = either.sync(joined(config("conf"), json.dumps(claim)))
    assert not result.failure
    assert len(result.applied) == 2


def test_pruning_goes_wave_by_wave_from_the_last_and_what_asks_for_it_last(either: Any) -> None:
    keep = config("keep")
    either.sync(
        joined(
            keep,
            config("first", wave=-1),
            config("middle"),
            config("top", wave=3),
            config("end", wave=3, options="PruneLast=true"),
        )
    )
    _, result = either.sync(keep, "two")
    assert either.requests.names == ["-top", "-middle", "-first", "-end"]
    assert len(result.pruned) == 4


def test_an_object_that_asks_for_confirmation_goes_when_a_person_confirms(either: Any) -> None:
    keep = config("keep")
    either.sync(joined(keep, config("data", options="Prune=confirm")))
    plan, _ = either.sync(keep, "two")
    assert "annotate it tidegate.dev/prune=confirmed" in plan.text()
    assert is_there(either, "data", "ConfigMap")
    note = {"name": "data", "annotations": {"tidegate.dev/prune": "confirmed"}}
    either.patch({"apiVersion": "v1", "kind": "ConfigMap", "metadata": note}, "person")
    either.sync(keep, "three")
    assert not is_there(either, "data", "ConfigMap")


def frozen(value: str, options: str = "") -> str:
    notes = {ARGO + "sync-options": options} if options else {}
    meta = {"name": "frozen", "annotations": notes}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "immutable": True,
        "data": {"a": value},
    }
    return json.dumps(body)


def test_what_cannot_be_changed_is_refused_with_what_helps(either: Any) -> None:
    either.deploy(frozen("1"))
    with pytest.raises(Refused, match="annotate it sync-options: Replace=true"):
        either.deploy(frozen("2"))


def test_what_cannot_be_changed_is_made_anew_when_it_asks_for_that(either: Any) -> None:
    either.deploy(frozen("1"))
    before = either.get("ConfigMap", "frozen")
    plan, result = either.deploy(frozen("2", "Replace=true"))
    assert [c.action for c in plan.changes] == [Action.Replace]
    assert plan.summary() == "1 to replace"
    assert [r.name for r in result.applied] == ["frozen"]
    after = either.get("ConfigMap", "frozen")
    assert after["data"] == {"a": "2"}
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_what_could_not_be_made_anew_is_not_deleted_for_it(either: Any) -> None:
    either.deploy(frozen("1"))
    bad = json.loads(frozen("2", "Replace=true"))
    bad["data"] = {"not/a/key": "2"}
    with pytest.raises(Refused):
        either.deploy(json.dumps(bad))
    assert either.get("ConfigMap", "frozen")["data"] == {"a": "1"}


def test_another_applications_hook_is_not_touched(either: Any) -> None:
    foreign = json.loads(job("migrate", "PreSync"))
    name = Ref("batch", "Job", either.cluster.namespace, "migrate")
    foreign["metadata"]["annotations"]["tidegate.dev/tracking-id"] = (
        f"default:books.production:{name.group}/{name.kind}:{name.namespace}/{name.name}"
    )
    foreign["metadata"]["namespace"] = name.namespace
    either.patch({**foreign, "metadata": foreign["metadata"]}, "other")
    with pytest.raises(Refused, match="belongs to default:books"):
        either.sync(joined(config("conf"), job("migrate", "PreSync")))


def test_a_plan_that_is_tried_again_repeats_no_hook_that_is_done(either: Any) -> None:
    text = joined(config("conf"), job("migrate", "PreSync", **{"test/swept": ""}))
    kept, hooks = split(read(text.encode(), "test.yaml"))
    plan = either.cluster.look(either.owner, kept, hooks=Hooks("one", tuple(hooks)))

    def fence() -> None:
        if any(name.endswith("conf") for name in either.requests.names):
            raise Unreachable("the API server is away")

    either.requests.clear()
    with pytest.raises(Unreachable):
        either.cluster.apply(either.owner, plan, fence=fence)
    assert either.requests.names.count("~migrate") >= 1
    either.requests.clear()
    result = either.cluster.apply(either.owner, plan, fence=lambda: None)
    assert not result.failure
    assert "~migrate" not in either.requests.names
