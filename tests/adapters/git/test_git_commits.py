"""Commits: made without a work tree, pushed with the expected old id, replayed on races, kept while offline."""

from __future__ import annotations

import multiprocessing
import random
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.git import CommitResult, Mirror, Tree
from tidegate.adapters.git.commits import pause
from tidegate.errors import NotFound, Rejected, SpecError, Unknown, Unreachable
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

TRAILERS = {"Tidegate-Release": "3f2a91c-0a1b2c", "Tidegate-Stage": "production", "Flow-Run": ""}


def put(path: str, data: bytes | None) -> Callable[[Tree], dict[str, bytes | None]]:
    return lambda tree: {path: data}


def test_a_commit_lands_with_its_message_and_trailers(
    mirror: Mirror, clone: Any, served: Callable[..., str]
) -> None:
    base = clone.write({"a": b"1", "keep": b"k"})
    mirror.fetch("main")
    result = mirror.commit("main", put("a", b"2"), "promote digits", body="why\n\nmore", trailers=TRAILERS)
    assert result == CommitResult(served("rev-parse", "main"), created=True, pushed=True)
    assert served("show", "-s", "--format=%B", "main") == (
        "promote digits\n\nwhy\n\nmore\n\nTidegate-Release: 3f2a91c-0a1b2c\nTidegate-Stage: production"
    )
    assert served("show", "-s", "--format=%an <%ae> %P", "main") == f"Tidegate <tidegate@localhost> {base}"
    assert served("ls-tree", "-r", "--name-only", "main").split() == ["a", "keep"]
    assert mirror.tip("main") == result.sha
    (commit,) = mirror.log("main", limit=1)
    assert (commit.subject, commit.body) == ("promote digits", "why\n\nmore")
    assert commit.trailers == {key: value for key, value in TRAILERS.items() if value}


def test_an_edit_that_changes_nothing_makes_no_commit(mirror: Mirror, clone: Any, server: GitServer) -> None:
    sha = clone.write({"a": b"1"})
    server.requests.clear()
    assert mirror.commit("main", put("a", b"1"), "x") == CommitResult(sha, created=False, pushed=True)
    assert mirror.commit("main", put("absent", None), "x").created is False
    assert mirror.commit("main", lambda tree: {}, "x").created is False
    assert not [request for request in server.requests if "receive-pack" in request.path]


def test_nothing_to_do_is_checked_against_the_remote(mirror: Mirror, clone: Any) -> None:
    clone.write({"a": b"1"})
    mirror.fetch("main")
    clone.write({"a": b"2"})
    assert mirror.commit("main", put("a", b"1"), "set it back").created is True
    assert mirror.read(mirror.fetch("main")["main"], "a") == b"1"


def test_an_edit_that_fails_on_an_old_tip_gets_the_new_one(mirror: Mirror, clone: Any) -> None:
    clone.write({"a": b"1"})
    mirror.fetch("main")
    clone.write({"config": b"x"})

    def edit(tree: Tree) -> dict[str, bytes | None]:
        if tree.read("config") is None:
            raise SpecError("config: missing")
        return {"a": b"2"}

    assert mirror.commit("main", edit, "x").created
    with pytest.raises(SpecError, match="other: missing"):
        mirror.commit("main", lambda tree: (_ for _ in ()).throw(SpecError("other: missing")), "x")


def test_a_missing_branch_starts_as_an_orphan(mirror: Mirror, clone: Any, served: Callable[..., str]) -> None:
    clone.write({"a": b"1"})
    result = mirror.commit("tidegate/shop/staging", put("release.json", b"{}\n"), "render")
    assert served("rev-list", "--count", "tidegate/shop/staging") == "1"
    assert served("ls-tree", "--name-only", result.sha) == "release.json"
    second = mirror.commit("tidegate/shop/production", put("release.json", b"{}\n"), "render")
    assert served("rev-list", "--count", second.sha) == "1"


def test_the_very_first_commit_of_a_repository(mirror: Mirror, served: Callable[..., str]) -> None:
    result = mirror.commit("main", put("a", b"1"), "first")
    assert served("rev-parse", "main") == result.sha


def test_modes_links_deletions_and_odd_names(mirror: Mirror, clone: Any, served: Callable[..., str]) -> None:
    (clone.folder / "run").write_bytes(b"#!/bin/sh\n")
    (clone.folder / "run").chmod(0o755)
    (clone.folder / "link").symlink_to("run")
    clone.write({"dir/a": b"1", "dir/b": b"2", "file": b"3"})
    changes: dict[str, bytes | None] = {
        "run": b"#!/bin/bash\n",
        "link": b"a file now",
        "dir/a": None,
        "dir/b": None,
        "dir": b"a file where a folder was",
        "file": None,
        "file/in folder": b"a folder where a file was",
        '"quoted" ü.txt': b"4",
        "binary": bytes(range(256)),
        "empty": b"",
    }
    mirror.commit("main", lambda tree: changes, "all kinds")
    rows = [
        line.split(None, 3)
        for line in served("-c", "core.quotePath=false", "ls-tree", "-r", "main").splitlines()
    ]
    modes = {name.strip('"').replace('\\"', '"'): mode for mode, _, _, name in rows}
    assert modes == {
        "run": "100755", "link": "100644", "dir": "100644", "file/in folder": "100644", '"quoted" ü.txt': "100644",
        "binary": "100644", "empty": "100644",
    }  # fmt: skip
    tip = mirror.tip("main") or ""
    assert mirror.tree(tip) == {path: data for path, data in changes.items() if data is not None}


def test_messages_cannot_smuggle_trailers(mirror: Mirror, clone: Any) -> None:
    clone.write({"a": b"1"})
    mirror.commit(
        "main", put("a", b"2"), "evil\n\nApproved-By: me", body="x\n\nApproved-By: me",
        trailers={"Tidegate-Release": "r\nApproved-By: me"},
    )  # fmt: skip
    (commit,) = mirror.log("main", limit=1)
    assert commit.trailers == {"Tidegate-Release": "r Approved-By: me"}
    assert commit.subject == "evil Approved-By: me"


def test_the_edit_sees_the_tree(mirror: Mirror, clone: Any) -> None:
    clone.write({"s/a": b"1", "s/b": b"2", "c": b"3"})
    seen: dict[str, Any] = {}

    def edit(tree: Tree) -> dict[str, bytes | None]:
        seen.update(
            read=tree.read("s/a"), absent=tree.read("x"), paths=tree.paths("s"), files=tree.files("s")
        )
        return {}

    mirror.commit("main", edit, "x")
    assert seen == {
        "read": b"1",
        "absent": None,
        "paths": ("s/a", "s/b"),
        "files": {"s/a": b"1", "s/b": b"2"},
    }


# -- races -------------------------------------------------------------------------------------------------------


def test_a_lost_race_runs_the_edit_on_the_new_tip(
    mirror: Mirror, clone: Any, served: Callable[..., str]
) -> None:
    clone.write({"n": b"1"})
    mirror.fetch("main")
    runs: list[bytes] = []

    def edit(tree: Tree) -> dict[str, bytes | None]:
        data = tree.read("n") or b""
        runs.append(data)
        if len(runs) == 1:
            clone.write({"n": b"5"})
        return {"n": b"%d" % (int(data) + 1)}

    mirror.commit("main", edit, "add one")
    assert (runs, served("show", "main:n")) == ([b"1", b"5"], "6")


def test_a_remote_that_moved_backwards_is_not_overwritten(
    mirror: Mirror, clone: Any, served: Callable[..., str]
) -> None:
    kept = clone.write({"a": b"1"})
    dropped = clone.write({"secret": b"dropped on purpose"})
    mirror.fetch("main")
    served("update-ref", "refs/heads/main", kept)
    result = mirror.commit("main", put("a", b"2"), "x")
    assert served("rev-list", "main").split() == [result.sha, kept]
    assert dropped not in served("rev-list", "main")


def _write(url: str, home: Path, number: int, commits: int, barrier: Any) -> None:
    mirror = Mirror(url, Settings(home=home, git_protocols="http"))
    mirror.fetch("main")
    barrier.wait()
    for turn in range(commits):
        mirror.commit("main", lambda tree, turn=turn: {
            f"writers/{number}-{turn}": b"x",
            "count": b"%d" % (int(tree.read("count") or 0) + 1),
        }, f"writer {number} turn {turn}")  # fmt: skip


@pytest.mark.parametrize(("homes", "turns"), [("apart", 2), ("shared", 1)])
def test_eight_writers_race_and_every_commit_lands(
    server: GitServer, clone: Any, tmp_path: Path, served: Callable[..., str], homes: str, turns: int
) -> None:
    """Fault 23. Apart: eight machines; shared: eight processes on one."""
    clone.write({"count": b"0"})
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(8)
    writers = [
        spawn.Process(
            target=_write,
            args=(
                server.url("fleet"),
                tmp_path / (f"home{n}" if homes == "apart" else "home"),
                n,
                turns,
                barrier,
            ),
        )
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert served("show", "main:count") == str(8 * turns)
    assert len(served("ls-tree", "--name-only", "main", "writers/").split()) == 8 * turns
    assert served("rev-list", "--count", "main") == str(8 * turns + 1)
    assert served("rev-list", "--merges", "main") == ""


def test_eight_threads_commit_through_one_mirror(
    mirror: Mirror, clone: Any, served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            mirror.commit("main" if number % 2 else f"other-{number}", put(f"{number}", b"x"), f"{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(served("ls-tree", "--name-only", "main").split()) == {"a", "1", "3", "5", "7"}


def test_retries_begin_quickly_and_end_at_thirty_seconds() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random.seed(seed)
    assert all(pause(attempt) < 0.7 for attempt in (1, 2, 3) for _ in range(100))
    assert all(0.5 <= pause(4) <= 1.5 for _ in range(100))
    assert max(pause(100) for _ in range(1000)) <= 45


# -- answers that are no -----------------------------------------------------------------------------------------


def test_a_push_rejected_by_a_hook_is_a_failure_with_the_hooks_words(
    mirror: Mirror, clone: Any, server: GitServer, served: Callable[..., str]
) -> None:
    """Fault 24."""
    sha = clone.write({"a": b"1"})
    hook = server.path("fleet") / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'only on Mondays' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Rejected, match=r"pre-receive hook declined.*only on Mondays"):
        mirror.commit("main", put("a", b"2"), "x")
    assert served("rev-parse", "main") == sha
    assert mirror.tip("main") == sha
    hook.unlink()
    assert mirror.commit("main", put("a", b"2"), "x").created


def test_a_lock_left_on_the_server_is_a_failure(
    mirror: Mirror, clone: Any, server: GitServer, served: Callable[..., str]
) -> None:
    """Fault 24."""
    sha = clone.write({"a": b"1"})
    (server.path("fleet") / "refs/heads/main.lock").touch()
    with pytest.raises(Rejected, match="lock"):
        mirror.commit("main", put("a", b"2"), "x")
    assert served("rev-parse", "main") == sha


def test_an_unknown_repository_is_not_found_on_commit(
    server: GitServer, settings: Callable[..., Settings]
) -> None:
    with pytest.raises(NotFound):
        Mirror(server.url("absent"), settings()).commit("main", put("a", b"1"), "x")


# -- answers that are lost ---------------------------------------------------------------------------------------


def test_a_push_whose_answer_is_lost_is_found_and_not_repeated(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    """Fault 25."""
    clone.write({"a": b"1"})
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    mirror.fetch("main")
    proxy.fail("drop_after_accept", method="POST", path="git-receive-pack")
    result = mirror.commit("main", put("a", b"2"), "x", trailers=TRAILERS)
    assert result == CommitResult(served("rev-parse", "main"), created=True, pushed=True)
    assert served("rev-list", "--count", "main") == "2"
    assert mirror.tip("main") == result.sha


def test_a_lost_answer_is_found_below_commits_that_came_after(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    mirror.fetch("main")
    hook = server.path("fleet") / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nrm hooks/post-receive\nnew=$(git commit-tree -p main -m later main^{tree})\n"
        "git update-ref refs/heads/main $new\n"
    )
    hook.chmod(0o755)
    served("config", "user.name", "x")
    served("config", "user.email", "x@y")
    proxy.fail("drop_after_accept", method="POST", path="git-receive-pack")
    result = mirror.commit("main", put("a", b"2"), "ours", trailers=TRAILERS)
    assert served("log", "--format=%s", "main").split() == ["later", "ours", "change"]
    assert result.sha == served("rev-parse", "main~1")


def test_a_lost_answer_is_found_by_trailers_when_the_server_rewrote_the_commit(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    mirror.fetch("main")
    hook = server.path("fleet") / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nnew=$(git show -s --format=%B main | git commit-tree -p main~1 -F - main^{tree})\n"
        "git update-ref refs/heads/main $new\n"
    )
    hook.chmod(0o755)
    served("config", "user.name", "merge queue")
    served("config", "user.email", "x@y")
    proxy.fail("drop_after_accept", method="POST", path="git-receive-pack")
    result = mirror.commit("main", put("a", b"2"), "ours", trailers=TRAILERS)
    assert result == CommitResult(served("rev-parse", "main"), created=True, pushed=True)
    assert served("rev-list", "--count", "main") == "2"


def test_a_push_that_never_arrived_is_tried_again(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    mirror.fetch("main")
    proxy.fail("reset", method="POST", path="git-receive-pack")
    assert mirror.commit("main", put("a", b"2"), "x").pushed
    assert served("rev-list", "--count", "main") == "2"


def test_nobody_can_say_is_an_unknown_outcome(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    mirror.fetch("main")
    proxy.fail("drop_after_accept", method="POST", path="git-receive-pack")
    proxy.fail("status:503", path="service=git-upload-pack", times=9)
    with pytest.raises(Unknown, match="look again"):
        mirror.commit("main", put("a", b"2"), "x")
    proxy.heal()
    mirror.commit("main", put("a", b"2"), "x")
    assert served("rev-list", "--count", "main") == "2"


def test_a_process_killed_after_its_push_repeats_nothing(
    server: GitServer, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    Mirror(server.url("fleet"), settings("dead")).commit("main", put("a", b"2"), "x", trailers=TRAILERS)
    next_one = Mirror(server.url("fleet"), settings("dead"))
    assert next_one.commit("main", put("a", b"2"), "x", trailers=TRAILERS).created is False
    assert served("rev-list", "--count", "main") == "2"


# -- while the remote is down ------------------------------------------------------------------------------------


def test_commits_are_kept_while_the_remote_is_down_and_pushed_later(
    mirror: Mirror, clone: Any, server: GitServer, served: Callable[..., str]
) -> None:
    """Fault 52."""
    base = clone.write({"a": b"1"})
    mirror.fetch("main")
    server.stop()
    with pytest.raises(Unreachable):
        mirror.commit("main", put("a", b"0"), "x")
    first = mirror.commit("main", put("a", b"2"), "rollback", trailers={"Reverts": base}, offline=True)
    second = mirror.commit("main", lambda tree: {"a": (tree.read("a") or b"") + b"!"}, "again", offline=True)
    assert (first.created, first.pushed, second.pushed) == (True, False, False)
    assert mirror.tip("main") == second.sha
    assert mirror.read(second.sha, "a") == b"2!"
    assert [commit.subject for commit in mirror.log("main")] == ["again", "rollback", "change"]
    with pytest.raises(Unreachable):
        mirror.push_pending()
    server.start()
    assert mirror.push_pending() is True
    assert served("rev-list", "main").split() == [second.sha, first.sha, base]
    assert mirror.push_pending() is False
    assert mirror.tip("main") == second.sha


def test_kept_commits_are_written_onto_a_tip_that_moved_meanwhile(
    mirror: Mirror, clone: Any, server: GitServer, served: Callable[..., str]
) -> None:
    clone.write({"ours": b"1", "theirs": b"1", "gone": b"1"})
    mirror.fetch("main")
    mirror.commit(
        "main", lambda tree: {"ours": b"2", "gone": None}, "one", trailers={"Reverts": "x"}, push=False
    )
    mirror.commit("main", put("new", b"n"), "two", push=False)
    theirs = clone.write({"theirs": b"2"}, "meanwhile")
    assert mirror.push_pending() is True
    assert served("log", "--format=%s", "main").split() == ["two", "one", "meanwhile", "change"]
    assert served("rev-parse", "main~2") == theirs
    assert mirror.tree(mirror.fetch("main")["main"]) == {"ours": b"2", "theirs": b"2", "new": b"n"}
    assert mirror.log("main")[1].trailers == {"Reverts": "x"}


def test_kept_commits_that_the_remote_has_already_are_dropped(
    mirror: Mirror, clone: Any, served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror.fetch("main")
    mirror.commit("main", put("a", b"2"), "ours", push=False)
    tip = clone.write({"a": b"2"}, "theirs, the same")
    assert mirror.push_pending() is True
    assert served("rev-parse", "main") == tip
    assert mirror.tip("main") == tip


def test_kept_commits_go_before_the_next_one(mirror: Mirror, clone: Any, served: Callable[..., str]) -> None:
    clone.write({"a": b"1"})
    mirror.commit("main", put("a", b"2"), "kept", push=False)
    mirror.commit("main", put("b", b"1"), "next")
    assert served("log", "--format=%s", "main").split() == ["next", "kept", "change"]


def test_kept_commits_start_a_branch_the_remote_has_not(
    mirror: Mirror, clone: Any, server: GitServer, served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror.fetch("main")
    server.stop()
    mirror.commit("tidegate/ledger", put("r.json", b"{}"), "record", offline=True)
    server.start()
    assert mirror.push_pending()
    assert served("log", "--format=%s", "tidegate/ledger") == "record"


def test_a_push_that_broke_off_is_kept_when_offline_is_allowed(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], served: Callable[..., str]
) -> None:
    clone.write({"a": b"1"})
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    mirror.fetch("main")
    proxy.fail("drop_after_accept", method="POST", path="git-receive-pack")
    proxy.fail("status:503", path="service=git-upload-pack", times=9)
    result = mirror.commit("main", put("a", b"2"), "x", offline=True)
    assert (result.created, result.pushed) == (True, False)
    proxy.heal()
    assert mirror.push_pending() is True
    assert served("rev-list", "main").split()[0] == result.sha
    assert served("rev-list", "--count", "main") == "2"


# -- cost --------------------------------------------------------------------------------------------------------


def test_a_commit_and_push_cost_little_processor_time(server: GitServer, clone: Any, tmp_path: Path) -> None:
    """About 33 ms; the limit leaves room for slow machines."""
    clone.write({f"apps/{n % 100}/{n}.yaml": b"n: %d\n" % n for n in range(2000)})
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    writer = spawn.Process(target=_measure, args=(server.url("fleet"), tmp_path / "home", answers))
    writer.start()
    costs = sorted(answers.get(timeout=60))
    writer.join()
    print(f"CPU per commit and push: {[round(cost * 1000) for cost in costs]} ms")
    assert costs[len(costs) // 2] < 0.12


def _measure(url: str, home: Path, answers: Any) -> None:
    mirror = Mirror(url, Settings(home=home, git_protocols="http"))
    mirror.fetch("main")
    costs = []
    for turn in range(9):
        before = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        mirror.commit("main", lambda tree, turn=turn: {"apps/7/7.yaml": b"turn: %d\n" % turn}, "x")
        costs.append(time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    answers.put(costs)
