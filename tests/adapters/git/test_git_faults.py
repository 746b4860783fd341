"""What breaks under a mirror: the network, the disk, the mirror's own files, and our own process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.git import Mirror
from tidegate.errors import OutsideError, Rejected, Unreachable
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

FILES = {f"shop/{n}.yaml": b"n: %d\n" % n for n in range(30)}


# -- network -----------------------------------------------------------------------------------------------------


def test_a_stopped_server_is_unreachable_and_known_commits_still_read(
    mirror: Mirror, clone: Any, server: GitServer
) -> None:
    """Fault 20."""
    sha = clone.write(FILES)
    mirror.fetch("main")
    mirror.tree(sha)
    server.stop()
    for call in (lambda: mirror.fetch("main"), mirror.ls_remote, lambda: mirror.read("1" * 40, "x")):
        with pytest.raises(Unreachable, match="check network and server") as caught:
            call()
        assert caught.value.retryable
    assert mirror.tree(sha) == FILES


def test_an_unknown_host_is_unreachable(settings: Callable[..., Settings]) -> None:
    with pytest.raises(Unreachable, match="unreachable"):
        Mirror("http://git.invalid/fleet.git", settings()).ls_remote()


@pytest.mark.parametrize("path", ["/info/refs", "git-upload-pack"])
def test_a_hanging_server_is_given_up_within_fifteen_seconds(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], path: str
) -> None:
    """Fault 20."""
    clone.write(FILES)
    proxy.fail("hang", path=path, times=9)
    began = time.monotonic()
    with pytest.raises(Unreachable):
        Mirror(proxy.through(server.url("fleet")), settings()).fetch("main")
    assert time.monotonic() - began < 15


def test_a_server_that_accepts_and_says_nothing_ends_at_our_limit(settings: Callable[..., Settings]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = Mirror(f"http://127.0.0.1:{silent.getsockname()[1]}/x.git", settings(git_timeout=1.5))
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no answer within"):
            mirror.ls_remote()
        assert time.monotonic() - began < 5
    assert _children() == []


def _children() -> list[str]:
    """Git processes this test process has started and not ended, but for open readers."""
    import psutil

    return [
        " ".join(process.cmdline())
        for process in psutil.Process().children(recursive=True)
        if "ls-remote" in process.cmdline() or "remote-http" in " ".join(process.cmdline())
    ]


@pytest.mark.parametrize("fault", ["status:503", "status:429:1", "status:500", "reset", "reset_mid:40"])
def test_a_server_in_trouble_is_unreachable_then_works(
    server: GitServer, proxy: Any, clone: Any, settings: Callable[..., Settings], fault: str
) -> None:
    sha = clone.write(FILES)
    mirror = Mirror(proxy.through(server.url("fleet")), settings())
    proxy.fail(fault, times=2)
    with pytest.raises(Unreachable):
        mirror.fetch("main")
    proxy.heal()
    assert mirror.fetch("main") == {"main": sha}
    assert mirror.tree(sha) == FILES


def test_a_redirect_is_not_followed(settings: Callable[..., Settings], server: GitServer, clone: Any) -> None:
    """It would carry the token to another host."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    seen: list[str] = []

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(302)
            self.send_header("Location", f"{server.address}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Redirects) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{other.server_address[1]}/fleet.git"
        server.requests.clear()
        with pytest.raises(Rejected, match="redirects"):
            Mirror(url, settings(git_token="hush")).ls_remote()
        other.shutdown()
        thread.join()
    assert not server.requests
    assert seen == [""]


# -- the mirror's files ------------------------------------------------------------------------------------------


def _truncate_packs(path: Path) -> None:
    for pack in (path / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        with pack.open("r+b") as file:
            file.truncate(pack.stat().st_size // 2)


def _zero_packs(path: Path) -> None:
    for pack in (path / "objects/pack").glob("*.*"):
        pack.chmod(0o600)
        pack.write_bytes(b"")


def _garbage_packs(path: Path) -> None:
    for pack in (path / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        data = bytearray(pack.read_bytes())
        data[12:-20] = b"\xff" * (len(data) - 32)
        pack.write_bytes(data)


def _drop_objects(path: Path) -> None:
    for file in (path / "objects").rglob("*"):
        if file.is_file():
            file.unlink()


def _empty_objects(path: Path) -> None:
    for file in (path / "objects").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(b"")


def _zero_refs(path: Path) -> None:
    for file in (path / "refs/remotes").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\0" * 41)


def _empty_head(path: Path) -> None:
    (path / "HEAD").write_bytes(b"")


def _broken_config(path: Path) -> None:
    (path / "config").write_bytes(b"[remote\0")


def _no_objects_folder(path: Path) -> None:
    import shutil

    shutil.rmtree(path / "objects")


DAMAGES = [
    _truncate_packs, _zero_packs, _garbage_packs, _drop_objects, _empty_objects, _zero_refs, _empty_head,
    _broken_config, _no_objects_folder,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
@pytest.mark.parametrize("first", ["read", "fetch", "commit"])
def test_a_damaged_mirror_is_dropped_and_cloned_again(
    server: GitServer,
    clone: Any,
    settings: Callable[..., Settings],
    served: Callable[..., str],
    damage: Callable[[Path], None],
    first: str,
) -> None:
    """Fault 27: whatever is damaged, whatever comes next, in a process that starts on it."""
    old = clone.write(FILES)
    before = Mirror(server.url("fleet"), settings())
    before.fetch("main")
    before.tree(old)
    new = clone.write({"shop/0.yaml": b"changed\n"})
    damage(before._store.path)
    mirror = Mirror(server.url("fleet"), settings())
    if first == "read":
        assert mirror.tree(old) == FILES
    if first == "commit":
        mirror.commit("main", lambda tree: {"more": b"1"}, "more")
        new = served("rev-parse", "main")
    assert mirror.fetch("main") == {"main": new}
    assert mirror.read(new, "shop/0.yaml") == b"changed\n"
    assert mirror.changed(old, new)[:1] in (("more",), ("shop/0.yaml",))
    assert mirror.is_ancestor(old, new)
    assert [commit.sha for commit in mirror.log("main")][-1] == old


def test_damage_under_an_open_reader_is_noticed(mirror: Mirror, clone: Any) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    assert mirror.read(sha, "shop/1.yaml") == FILES["shop/1.yaml"]
    _drop_objects(mirror._store.path)
    assert mirror.tree(sha) == FILES
    assert mirror.fetch("main") == {"main": sha}


def test_kept_commits_survive_damage_as_far_as_they_can_be_read(
    mirror: Mirror, clone: Any, served: Callable[..., str]
) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    kept = mirror.commit("main", lambda tree: {"kept": b"1"}, "kept", push=False)
    for pack in (mirror._store.path / "objects/pack").glob(
        "*.pack"
    ):  # what was fetched is damaged, ours is loose
        pack.unlink()
    assert mirror.tree(sha) == FILES
    assert mirror.tip("main") == kept.sha
    assert mirror.push_pending()
    assert served("rev-parse", "main") == kept.sha


def test_a_damaged_mirror_stays_while_the_remote_is_down(
    mirror: Mirror, clone: Any, server: GitServer
) -> None:
    sha = clone.write(FILES)
    mirror.fetch("main")
    mirror.tree(sha)
    _truncate_packs(mirror._store.path)
    server.stop()
    with pytest.raises(OutsideError):
        mirror.tree(sha, "shop/absent") or mirror.fetch("main")
    assert mirror._store.path.exists()
    server.start()
    assert mirror.tree(sha) == FILES


# -- what killed processes leave ---------------------------------------------------------------------------------


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_old_locks_and_half_packs_are_removed_and_young_ones_are_not(
    server: GitServer, clone: Any, settings: Callable[..., Settings]
) -> None:
    """Fault 28."""
    sha = clone.write(FILES)
    Mirror(server.url("fleet"), settings()).fetch("main")
    path = Mirror(server.url("fleet"), settings())._store.path
    left = [
        path / "refs/remotes/origin/main.lock",
        path / "packed-refs.lock",
        path / "config.lock",
        path / "shallow.lock",
        path / "objects/pack/tmp_pack_abc",
        path / "objects/tmp_obj_x",
    ]
    for file in left:
        file.write_bytes(b"")
        _age(file, 120)
    young = path / "objects/pack/tmp_pack_young"
    young.write_bytes(b"")
    new = clone.write({"a": b"1"})
    mirror = Mirror(server.url("fleet"), settings())
    assert mirror.fetch("main") == {"main": new}
    assert mirror.is_ancestor(sha, new)
    assert not [file for file in left if file.exists()]
    assert young.exists()


def test_clones_that_a_dead_process_never_finished_are_removed(mirror: Mirror, clone: Any) -> None:
    clone.write(FILES)
    folder = mirror._store.folder
    with subprocess.Popen(["true"]) as ended:
        pass
    dead, living = folder / f".tmp-{ended.pid}-x", folder / f".tmp-{os.getpid()}-x"
    for path in (dead, living):
        (path / "objects").mkdir(parents=True)
    from tidegate.adapters.git.locks import remove_orphans

    remove_orphans(folder)
    assert dead.exists()  # too young
    remove_orphans(folder, older_than=0)
    assert (dead.exists(), living.exists()) == (False, True)


def test_an_old_lock_on_our_scratch_ref_does_not_stop_commits(
    server: GitServer, clone: Any, settings: Callable[..., Settings]
) -> None:
    clone.write(FILES)
    mirror = Mirror(server.url("fleet"), settings())
    mirror.commit("main", lambda tree: {"a": b"1"}, "x")
    (scratch,) = (mirror._store.path / "refs/tidegate/work").iterdir()
    lock = scratch.with_name(scratch.name + ".lock")
    lock.touch()
    _age(lock, 120)
    assert mirror.commit("main", lambda tree: {"a": b"2"}, "x").pushed


_WRITER = """
import sys
from pathlib import Path
from tidegate.adapters.git import Mirror
from tidegate.settings import Settings
mirror = Mirror(sys.argv[1], Settings(home=Path(sys.argv[2]), git_protocols="http"))
mirror.fetch("main")
print("ready", flush=True)
for turn in range(10_000):
    mirror.commit("main", lambda tree: {"count": b"%d" % (int(tree.read("count") or 0) + 1)}, f"turn {turn}")
"""


@pytest.mark.parametrize("round_", range(4))
def test_kill_9_at_a_random_moment_leaves_a_mirror_that_works(
    server: GitServer, clone: Any, settings: Callable[..., Settings], served: Callable[..., str], round_: int
) -> None:
    import random

    seed = random.randrange(2**32)
    print(f"seed {seed}")
    clone.write({"count": b"0"})
    home = settings().home
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, server.url("fleet"), str(home)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed).uniform(0.0, 0.5))
        writer.send_signal(signal.SIGKILL)
    mirror = Mirror(server.url("fleet"), settings())
    mirror.commit("main", lambda tree: {"after": b"1"}, "after the kill")
    count = int(served("show", "main:count"))
    assert served("rev-list", "--count", "main") == str(count + 2)
    served("fsck", "--strict")


def test_many_fetches_do_not_pile_up_packs(
    mirror: Mirror, clone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.adapters.git import store

    monkeypatch.setattr(store, "PACKS_BEFORE_REPACKING", 5)
    shas = []
    for number in range(8):
        shas.append(clone.write({"a": b"%d" % number}))
        mirror.fetch("main")
    mirror._store.clean()
    assert len(list((mirror._store.path / "objects/pack").glob("*.pack"))) <= 2
    assert [mirror.read(sha, "a") for sha in shas] == [b"%d" % number for number in range(8)]
    mirror.commit("main", lambda tree: {"a": b"after"}, "x")


# -- disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; needs root on Linux."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.getuid() != 0 or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def test_a_full_disk_is_said_so_and_nothing_half_done_remains(
    server: GitServer,
    clone: Any,
    small_disk: Path,
    settings: Callable[..., Settings],
    served: Callable[..., str],
) -> None:
    """Fault 37."""
    first = clone.write({"a": b"1"})
    mirror = Mirror(server.url("fleet"), settings(home=small_disk / "home"))
    mirror.fetch("main")
    (small_disk / "filler").write_bytes(b"\0" * 2_200_000)
    big = clone.write({"big": os.urandom(1_500_000)})
    mirror.fetch("main")  # trees only: that still fits
    with pytest.raises(OutsideError, match="disk"):
        mirror.read(big, "big")
    with pytest.raises(OutsideError, match="disk"):
        mirror.commit("main", lambda tree: {"ours": os.urandom(1_500_000)}, "too large")
    assert served("rev-parse", "main") == big
    assert mirror.read(first, "a") == b"1"
    (small_disk / "filler").unlink()
    assert len(mirror.read(big, "big")) == 1_500_000
    assert mirror.commit("main", lambda tree: {"ours": b"small"}, "fits").pushed


def test_a_disk_without_any_room_is_said_so(
    server: GitServer, clone: Any, small_disk: Path, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    sha = clone.write({"a": b"1"})
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    mirror = Mirror(server.url("fleet"), settings(home=small_disk / "home"))
    with pytest.raises(OutsideError, match="disk"):
        mirror.fetch("main")
    filler.unlink()
    assert mirror.fetch("main") == {"main": sha}
    mirror.export(sha, small_disk / "out")


def test_export_to_a_full_disk_is_said_so(mirror: Mirror, clone: Any, small_disk: Path) -> None:
    sha = clone.write({"big": os.urandom(5_000_000)})
    mirror.fetch("main")
    with pytest.raises(OutsideError, match="disk"):
        mirror.export(sha, small_disk / "out")


def test_a_home_that_cannot_be_written_is_said_so(
    server: GitServer, tmp_path: Path, settings: Callable[..., Settings]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutsideError, match="TIDEGATE_HOME"):
        Mirror(server.url("fleet"), settings(home=tmp_path / "file")).fetch("main")
