"""Mirrors: polling, fetching, reading trees and history of real repositories over HTTP."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.git import Mirror
from tidegate.errors import NotFound, Rejected, SpecError, Unreachable
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

FILES = {
    "shop/staging/app.yaml": b"a: 1\n",
    "shop/production/app.yaml": b"b: 2\n",
    "README.md": "über\n".encode(),
}


def test_an_empty_repository_has_no_tips(mirror: Mirror) -> None:
    assert mirror.ls_remote() == {}
    assert mirror.fetch("main") == {}
    assert mirror.tip("main") is None
    assert mirror.log("main") == []


def test_polling_needs_no_mirror_on_disk(
    mirror: Mirror, clone: Any, settings: Callable[..., Settings]
) -> None:
    sha = clone.write(FILES)
    assert mirror.ls_remote("refs/heads/main", "refs/heads/absent") == {"refs/heads/main": sha}
    assert mirror.ls_remote("HEAD") == {"HEAD": sha}
    assert not [path for path in (settings().home / "mirrors").iterdir() if path.is_dir()]


def test_polling_answers_only_for_the_very_ref(mirror: Mirror, clone: Any) -> None:
    sha = clone.write(FILES)
    clone("push", "-q", "origin", "HEAD:refs/heads/x/refs/heads/main")
    assert mirror.ls_remote("refs/heads/main") == {"refs/heads/main": sha}


def test_reads_files_folders_and_ids_at_a_revision(mirror: Mirror, clone: Any) -> None:
    sha = clone.write(FILES)
    assert mirror.fetch("main") == {"main": sha}
    assert mirror.tip("main") == sha
    assert mirror.read(sha, "shop/staging/app.yaml") == b"a: 1\n"
    assert mirror.tree(sha, "shop/staging") == {"shop/staging/app.yaml": b"a: 1\n"}
    assert mirror.tree(sha) == FILES
    assert mirror.tree(sha, "absent") == {}
    assert mirror.paths(sha, "shop") == ("shop/production/app.yaml", "shop/staging/app.yaml")
    assert mirror.tree_id(sha, "shop/staging") == clone("rev-parse", "HEAD:shop/staging")
    assert mirror.tree_id(sha) == clone("rev-parse", "HEAD^{tree}")
    assert mirror.tree_id(sha, "README.md") is None
    for absent in ("absent", "shop", "README.md/x"):
        with pytest.raises(NotFound, match=absent):
            mirror.read(sha, absent)


def test_blobs_come_when_they_are_read_and_in_one_fetch(
    mirror: Mirror, clone: Any, server: GitServer
) -> None:
    sha = clone.write({f"many/{n}.yaml": b"n: %d\n" % n for n in range(40)} | {"other.bin": b"x" * 100})
    mirror.fetch("main")
    store = mirror._store.path
    assert not clone_has(mirror, clone("rev-parse", "HEAD:other.bin"))
    before = len(server.requests)
    assert len(mirror.tree(sha, "many")) == 40
    asked = [request for request in list(server.requests)[before:] if request.method == "POST"]
    assert len(asked) == 1
    before = len(server.requests)
    assert len(mirror.tree(sha, "many")) == 40
    assert len(server.requests) == before
    assert store.exists()


def clone_has(mirror: Mirror, blob: str) -> bool:
    return mirror._store.object(blob) is not None


def test_a_server_without_filters_sends_everything_and_that_is_noticed(
    mirror: Mirror, clone: Any, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        __import__("tidegate.sim.git_server").sim.git_server._CONFIGURATION, "uploadpack.allowFilter", "false"
    )
    sha = clone.write(FILES)
    mirror.fetch("main")
    assert (mirror._store.path / "tidegate-unfiltered").exists()
    assert "promisor" not in (mirror._store.path / "config").read_text()
    server.stop()
    assert mirror.tree(sha) == FILES


def test_an_unchanged_branch_costs_one_question(mirror: Mirror, clone: Any, server: GitServer) -> None:
    clone.write(FILES)
    mirror.fetch("main")
    before = len(server.requests)
    mirror.fetch("main")
    assert [request.path.rpartition("/")[2] for request in list(server.requests)[before:]] == [
        "refs",
        "git-upload-pack",
    ]


def test_a_branch_that_is_gone_is_absent_and_forgotten(mirror: Mirror, clone: Any) -> None:
    clone.write(FILES)
    clone.write({"x": b"1"}, branch="feature/one")
    assert set(mirror.fetch("main", "feature/one", "never")) == {"main", "feature/one"}
    clone("push", "-q", "origin", ":feature/one")
    assert set(mirror.fetch("main", "feature/one")) == {"main"}
    assert mirror.tip("feature/one") is None
    clone("push", "-q", "origin", "HEAD:refs/heads/feature")  # where a folder of refs was
    assert set(mirror.fetch("feature")) == {"feature"}


def test_without_names_all_branches_are_fetched(mirror: Mirror, clone: Any) -> None:
    clone.write(FILES)
    clone.write({"x": b"1"}, branch="other")
    assert set(mirror.fetch()) == {"main", "other"}


def test_says_what_changed_between_two_revisions(mirror: Mirror, clone: Any) -> None:
    old = clone.write(FILES)
    clone("rm", "-q", "README.md")
    new = clone.write({"shop/staging/app.yaml": b"a: 2\n", "new/ü space.txt": b""})
    mirror.fetch("main")
    assert set(mirror.changed(old, new)) == {"README.md", "new/ü space.txt", "shop/staging/app.yaml"}
    assert mirror.changed(new, new) == ()


def test_rewritten_history_shows_as_not_an_ancestor(mirror: Mirror, clone: Any) -> None:
    clone.write(FILES)
    old = clone.write({"a": b"1"})
    mirror.fetch("main")
    clone("reset", "-q", "--hard", "HEAD~1")
    clone("commit", "-q", "--allow-empty", "-m", "another past")
    clone("push", "-q", "-f", "origin", "HEAD:main")
    new = mirror.fetch("main")["main"]
    assert new == clone("rev-parse", "HEAD")
    assert not mirror.is_ancestor(old, new)
    assert mirror.is_ancestor(clone("rev-parse", "HEAD~1"), new)
    assert not mirror.is_ancestor("0" * 39 + "1", new)
    assert set(mirror.changed("0" * 39 + "1", new)) == set(FILES)


def test_history_is_read_with_trailers_times_and_limits(mirror: Mirror, clone: Any) -> None:
    first = clone.write(FILES, "first")
    clone.write(
        {"shop/staging/app.yaml": b"a: 2\n"}, "promote\n\nwhy: because\n\nTidegate-Release: r1\nReverts: abc"
    )
    tip = clone.write({"README.md": b"x"}, "subject with \x1f odd ü")
    mirror.fetch("main")
    newest, promoted, oldest = mirror.log("main")
    assert (newest.sha, newest.subject, newest.trailers) == (tip, "subject with \x1f odd ü", {})
    assert (promoted.body, promoted.trailers) == (
        "why: because",
        {"Tidegate-Release": "r1", "Reverts": "abc"},
    )
    assert (oldest.parents, promoted.parents, oldest.author) == ((), (first,), "Dev <dev@example>")
    assert abs(datetime.now(UTC) - newest.time) < timedelta(minutes=5)
    assert [commit.subject for commit in mirror.log("main", paths=["shop/staging"])] == ["promote", "first"]
    assert [commit.subject for commit in mirror.log("main", paths=["**/app.yaml"], limit=1)] == ["promote"]
    assert [commit.subject for commit in mirror.log(tip, since=first)] == [newest.subject, "promote"]
    assert mirror.log("main", since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert (mirror.height(tip), mirror.height(first)) == (3, 1)


def test_reading_works_while_the_server_is_down(mirror: Mirror, clone: Any, server: GitServer) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    mirror.tree(sha)
    server.stop()
    assert mirror.tree(sha) == FILES
    assert mirror.log("main")[0].sha == sha
    assert mirror.tip("main") == sha
    with pytest.raises(Unreachable):
        mirror.fetch("main")


def test_a_mirror_that_was_deleted_comes_back(mirror: Mirror, clone: Any) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    assert mirror.read(sha, "README.md")
    shutil.rmtree(mirror._store.path)
    assert mirror.tree(sha) == FILES
    assert mirror.height(sha) == 1


def test_a_commit_that_never_was_is_not_found(mirror: Mirror, clone: Any) -> None:
    clone.write(FILES)
    mirror.fetch("main")
    with pytest.raises(NotFound, match="history was rewritten"):
        mirror.tree("1" * 40)


def test_a_missing_repository_is_not_found(server: GitServer, settings: Callable[..., Settings]) -> None:
    with pytest.raises(NotFound, match="no such repository"):
        Mirror(server.url("absent"), settings()).fetch("main")


def test_eight_threads_share_one_mirror(mirror: Mirror, clone: Any) -> None:
    files = {f"{n}.txt": b"%d\n" % n * 1000 for n in range(50)}
    sha = clone.write(files)
    mirror.fetch("main")
    mirror.tree(sha)
    wrong: list[object] = []

    def read() -> None:
        for path, data in files.items():
            if mirror.read(sha, path) != data:
                wrong.append(path)
        if mirror.tree(sha) != files:
            wrong.append("tree")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_links_are_followed_inside_the_repository_and_refused_outside(mirror: Mirror, clone: Any) -> None:
    (clone.folder / "shop").mkdir()
    for name, target in {
        "shop/in": "../README.md",
        "shop/out": "../../etc/passwd",
        "shop/abs": "/etc/passwd",
    }.items():
        (clone.folder / name).symlink_to(target)
    (clone.folder / "loop").symlink_to("loop")
    sha = clone.write({"README.md": b"hello"})
    mirror.fetch("main")
    assert mirror.read(sha, "shop/in") == b"hello"
    for name in ("shop/out", "shop/abs", "loop"):
        with pytest.raises(Rejected, match=name):
            mirror.read(sha, name)
    with pytest.raises(Rejected, match="out of the repository"):
        mirror.tree(sha, "shop")


def test_what_cannot_be_configuration_is_refused_by_name(
    mirror: Mirror, clone: Any, server: GitServer
) -> None:
    server.create("sub")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    sha = clone.write({"big/blob": b"\0" * (10 * 1024 * 1024 + 1), "lfs/weights.bin": pointer, "ok/a": b"1"})
    clone("update-index", "--add", "--cacheinfo", f"160000,{sha},sub/module")
    clone("commit", "-q", "-m", "submodule")
    clone("push", "-q", "origin", "HEAD:main")
    tip = mirror.fetch("main")["main"]
    for folder, words in (("big", "10485761 bytes"), ("lfs", "LFS pointer"), ("sub", "submodule")):
        with pytest.raises(Rejected, match=words):
            mirror.tree(tip, folder)
    assert mirror.tree(tip, "ok") == {"ok/a": b"1"}


def test_names_that_are_not_utf8_survive(mirror: Mirror, git: Callable[..., str], server: GitServer) -> None:
    stream = b"commit refs/heads/main\ncommitter a <a@b> 1 +0000\ndata 0\nM 644 inline a\xff b\ndata 2\nx\n\n"
    git("fast-import", "--quiet", cwd=server.path("fleet"), stdin=stream)
    tip = mirror.fetch("main")["main"]
    (path,) = mirror.paths(tip)
    assert path.encode(errors="surrogateescape") == b"a\xff b"
    assert mirror.read(tip, path) == b"x\n"


def test_trees_of_five_thousand_files_are_read_whole(mirror: Mirror, clone: Any) -> None:
    files = {f"apps/{n % 50}/{n}.yaml": b"n: %d\n" % n for n in range(5000)}
    sha = clone.write(files)
    mirror.fetch("main")
    assert mirror.tree(sha, "apps") == files
    result = mirror.commit("main", lambda tree: {"apps/7/7.yaml": b"new\n"}, "one of many")
    assert mirror.changed(sha, result.sha) == ("apps/7/7.yaml",)


def _nested(git: Callable[..., str], where: Path, levels: int, width: int) -> str:
    """A commit whose few trees stand for `width ** levels` files: a bomb, like the one for YAML."""
    row = "100644 blob " + git("hash-object", "-w", "--stdin", cwd=where, stdin=b"x")
    for _ in range(levels):
        rows = "".join(f"{row}\t{number:03}\n" for number in range(width)).encode()
        row = "040000 tree " + git("mktree", cwd=where, stdin=rows)
    sha = git("commit-tree", row.split()[2], "-m", "many", cwd=where)
    git("update-ref", "refs/heads/main", sha, cwd=where)
    return sha


@pytest.mark.parametrize(("levels", "width"), [(2, 500), (12, 10)])
def test_too_many_files_are_refused_before_memory_is_gone(
    mirror: Mirror, server: GitServer, git: Callable[..., str], tmp_path: Path, levels: int, width: int
) -> None:
    """Fault 26: 250,000 files, and a bomb of 10¹²."""
    import resource

    sha = _nested(git, server.path("fleet"), levels, width)
    mirror.fetch("main")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for call in (mirror.paths, mirror.tree, lambda id: mirror.export(id, tmp_path / "out")):
        with pytest.raises(Rejected, match=r"more than|use a smaller folder"):
            call(sha)
    if sys.platform == "linux":  # kilobytes there, bytes on macOS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


# -- export --------------------------------------------------------------------------------------------------------


def test_export_writes_plain_files_with_modes_and_inner_links(
    mirror: Mirror, clone: Any, tmp_path: Path
) -> None:
    (clone.folder / "bin").mkdir()
    (clone.folder / "bin/run").write_bytes(b"#!/bin/sh\n")
    (clone.folder / "bin/run").chmod(0o755)
    (clone.folder / "link").symlink_to("bin/run")
    sha = clone.write(FILES)
    mirror.fetch("main")
    mirror.export(sha, tmp_path / "out")
    assert (tmp_path / "out/bin/run").stat().st_mode & 0o111
    assert not (tmp_path / "out/README.md").stat().st_mode & 0o111
    assert (tmp_path / "out/link").read_bytes() == b"#!/bin/sh\n"
    assert not (tmp_path / "out/.git").exists()
    assert {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    } == {
        *FILES,
        "bin/run",
        "link",
    }


@pytest.mark.parametrize(
    "links",
    [{"a": "../out"}, {"a": "/etc"}, {"deep/b": "../.."}, {"d": "x/y", "x/y/k": ".", "e": "d/../../../up"}],
)
def test_export_refuses_links_that_lead_out(
    mirror: Mirror, clone: Any, tmp_path: Path, links: dict[str, str]
) -> None:
    for name, target in links.items():
        (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.folder / name).symlink_to(target)
    sha = clone.write(FILES)
    mirror.fetch("main")
    with pytest.raises(Rejected, match="out of the repository"):
        mirror.export(sha, tmp_path / "out")


def test_export_refuses_names_git_itself_would_not_check_out(
    mirror: Mirror, server: GitServer, tmp_path: Path, git: Callable[..., str]
) -> None:
    blob = git("hash-object", "-w", "--stdin", cwd=server.path("fleet"), stdin=b"x")
    tree = b"100644 .git\0" + bytes.fromhex(blob)
    made = git(
        "hash-object", "-t", "tree", "-w", "--literally", "--stdin", cwd=server.path("fleet"), stdin=tree
    )
    sha = git("commit-tree", made, "-m", "evil", cwd=server.path("fleet"))
    git("update-ref", "refs/heads/main", sha, cwd=server.path("fleet"))
    mirror.fetch("main")
    with pytest.raises(Rejected, match="not a file inside"):
        mirror.export(sha, tmp_path / "out")


def test_export_needs_an_empty_folder(mirror: Mirror, clone: Any, tmp_path: Path) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("keep")
    with pytest.raises(Exception, match="not empty"):
        mirror.export(sha, tmp_path / "out")


def test_a_repository_on_disk_works_where_the_protocol_is_allowed(
    server: GitServer, clone: Any, settings: Callable[..., Settings]
) -> None:
    sha = clone.write(FILES)
    for url in (str(server.path("fleet")), f"file://{server.path('fleet')}"):
        mirror = Mirror(url, settings(git_protocols="file"))
        assert mirror.fetch("main") == {"main": sha}
        assert mirror.tree(sha) == FILES
    assert mirror.commit("main", lambda tree: {"a": b"1"}, "x").pushed


def test_an_unknown_id_is_no_reason_to_clone_again(mirror: Mirror, clone: Any) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    before = mirror._store.path.stat().st_ino
    unknown = "1" * 40
    assert len(mirror.log("main", since=unknown)) == 1
    assert not mirror.is_ancestor(unknown, sha)
    for call in (
        lambda: mirror.log(unknown),
        lambda: mirror.height(unknown),
        lambda: mirror.is_ancestor(sha, unknown),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(NotFound):
        mirror.blobs(sha, [unknown])
    assert mirror._store.path.stat().st_ino == before


# -- names that must not become options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["--upload-pack=touch /tmp/x", "-oProxyCommand=x", "ext::sh -c touch% x", "file:///etc", "/etc", "git://x/y", "",
     "http://-x/y", "ssh://-oProxyCommand=x/y", "http://a b/c", "http://a/\nb", "git@host:repo", "fd::17",
     "relative/path"],
)  # fmt: skip
def test_addresses_that_could_do_harm_are_refused(settings: Callable[..., Settings], url: str) -> None:
    with pytest.raises(SpecError):
        Mirror(url, settings())


@pytest.mark.parametrize(
    "branch",
    ["--upload-pack=x", "-x", "", "a..b", "a b", "a~1", "a^", "a:b", "a\n", "/a", "a/", "a.lock", "@", "a@{1}", "a//b",
     "$(x)\\", "*", ".a", "a/.b"],
)  # fmt: skip
def test_branch_names_that_git_would_not_take_are_refused(mirror: Mirror, branch: str) -> None:
    for call in (mirror.fetch, mirror.tip, lambda name: mirror.commit(name, lambda tree: {}, "x")):
        with pytest.raises(SpecError):
            call(branch)


@pytest.mark.parametrize("sha", ["HEAD", "--output=x", "main", "", "f" * 39, "F" * 40])
def test_revisions_are_full_ids(mirror: Mirror, clone: Any, sha: str) -> None:
    clone.write(FILES)
    mirror.fetch("main")
    for call in (
        mirror.tree,
        mirror.height,
        lambda id: mirror.is_ancestor(id, id),
        lambda id: mirror.changed(id, id),
    ):
        with pytest.raises(SpecError):
            call(sha)


@pytest.mark.parametrize(
    "path", ["../x", "a/../b", "/etc/passwd", ".git/config", "a//b", "a\0b", "a/.GIT/hooks"]
)
def test_paths_stay_inside_the_repository(mirror: Mirror, clone: Any, path: str) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    with pytest.raises(SpecError):
        mirror.read(sha, path)
    with pytest.raises(SpecError):
        mirror.commit("main", lambda tree: {path: b"x"}, "x")
