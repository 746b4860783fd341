"""git-sync's question, against real repositories: what is new, and who is asked to find out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH, Ledger
from tidegate.demo.repositories import git
from tidegate.domain.records import Kind, Record
from tidegate.operations.revisions import FILE, Found, find_new
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer
from tidegate.spec import Application

START = datetime(2024, 5, 1, tzinfo=UTC)


class Fleet:
    """Two applications that share a source and a config repository, each with paths of its own."""

    def __init__(self, root: Path, server: GitServer) -> None:
        self.server, self.root = server, root
        self.settings = Settings(home=root / "home", git_protocols="http")
        for name in ("code", "config"):
            server.create(name)
        self.clone = root / "clone"
        self.clone.mkdir()
        git(self.clone, "init", "--quiet", "--initial-branch=main")
        git(self.clone, "config", "user.name", "Dev")
        git(self.clone, "config", "user.email", "dev@example")
        git(self.clone, "remote", "add", "origin", server.url("code"))
        self.apps = [self.application("cart"), self.application("shop")]
        self.ledger = Ledger(
            Mirror(server.url("config"), Settings(home=root / "hands", git_protocols="http"))
        )
        self.at = START

    def application(self, name: str, source: str = "code", config: str = "config") -> Application:
        build = {"kind": "archive", "image": f"registry.example/{name}", "entrypoint": [name]}
        return Application.model_validate(
            {
                "kind": "Application",
                "name": name,
                "source": {"git": self.server.url(source), "paths": [f"{name}/**"]},
                "integrate": {"build": build},
                "config": {"git": self.server.url(config)},
                "stages": [{"name": "live", "path": name, "target": {"kind": "kubernetes"}}],
            }
        )

    def push(self, *paths: str) -> str:
        for path in paths:
            (self.clone / path).parent.mkdir(exist_ok=True)
            with (self.clone / path).open("a") as file:
                file.write("more\n")
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", f"Change {', '.join(paths)}")
        git(self.clone, "push", "--quiet", "--force", "origin", "main")
        return git(self.clone, "rev-parse", "HEAD")

    def record(self, app: str, revision: str, kind: Kind = Kind.Release) -> None:
        self.at += timedelta(seconds=1)
        self.ledger.append(Record(kind, app, self.at, "made", data={"revision": revision}))

    def look(self) -> Found:
        return find_new(self.apps, self.settings)

    def new(self) -> dict[str, str]:
        found = self.look()
        assert not found.problems, found.problems
        return {r.app: r.sha for r in found.revisions}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with GitServer(tmp_path / "served") as server:
        yield Fleet(tmp_path, server)


def test_a_revision_is_new_until_it_is_on_record(fleet: Fleet) -> None:
    first = fleet.push("cart/a", "shop/a")
    assert fleet.new() == {"cart": first, "shop": first}
    assert fleet.new() == {"cart": first, "shop": first}
    fleet.record("cart", first)
    assert fleet.new() == {"shop": first}
    fleet.record("shop", first, Kind.Refused)
    assert fleet.new() == {}


def test_only_applications_whose_paths_were_touched_have_a_new_revision(fleet: Fleet) -> None:
    first = fleet.push("cart/a", "shop/a")
    fleet.record("cart", first)
    fleet.record("shop", first)
    second = fleet.push("shop/b")
    assert fleet.new() == {"shop": second}
    fleet.record("shop", second)
    third = fleet.push("README.md")
    assert fleet.new() == {}
    fourth = fleet.push("cart/b")
    assert fleet.new() == {"cart": fourth}
    assert third != fourth


def test_a_look_at_which_nothing_has_moved_asks_the_remotes_and_needs_no_mirror(fleet: Fleet) -> None:
    head = fleet.push("cart/a", "shop/a")
    fleet.record("cart", head)
    fleet.record("shop", head)
    fleet.push("README.md")
    assert fleet.new() == {}
    mirrors = fleet.settings.home / "mirrors"
    mirrors.rename(fleet.root / "away")
    before = len(fleet.server.requests)
    assert fleet.new() == {}
    asked = [r.path for r in list(fleet.server.requests)[before:] if "git-receive-pack" not in r.path]
    assert {path.split("/")[1] for path in asked} == {"code.git", "config.git"}
    assert [path.name for path in mirrors.iterdir()] == []


def test_what_is_kept_may_be_lost_or_damaged(fleet: Fleet) -> None:
    head = fleet.push("cart/a", "shop/a")
    fleet.record("cart", head)
    assert fleet.new() == {"shop": head}
    kept = fleet.settings.home / FILE
    for damage in ("", "[]", "null", '{"ledgers": {"x": 1}, "clear": {}}', '{"ledgers": []}'):
        kept.write_text(damage)
        assert fleet.new() == {"shop": head}, damage
    kept.unlink()
    assert fleet.new() == {"shop": head}


def test_the_newest_record_counts_and_other_kinds_do_not(fleet: Fleet) -> None:
    first = fleet.push("cart/a")
    fleet.apps = fleet.apps[:1]
    second = fleet.push("cart/b")
    fleet.record("cart", second)
    fleet.record("cart", first)
    assert fleet.new() == {"cart": second}
    fleet.record("cart", second, Kind.Rollback)
    assert fleet.new() == {"cart": second}
    fleet.record("cart", second)
    assert fleet.new() == {}


def test_an_application_that_comes_later_finds_its_records(fleet: Fleet) -> None:
    head = fleet.push("cart/a", "shop/a")
    fleet.record("cart", head)
    fleet.record("shop", head)
    both, fleet.apps = fleet.apps, fleet.apps[:1]
    assert fleet.new() == {}
    fleet.apps = both
    assert fleet.new() == {}


def test_paths_that_changed_in_the_spec_are_looked_at_anew(fleet: Fleet) -> None:
    head = fleet.push("cart/a", "shop/a")
    fleet.record("cart", head)
    fleet.record("shop", head)
    second = fleet.push("lib/x")
    assert fleet.new() == {}
    cart = fleet.apps[0]
    wider = cart.model_copy(
        update={"source": cart.source.model_copy(update={"paths": ("cart/**", "lib/**")})}
    )
    fleet.apps[0] = wider
    assert fleet.new() == {"cart": second}


def test_rewritten_history_is_a_new_revision(fleet: Fleet) -> None:
    fleet.push("cart/a")
    second = fleet.push("cart/b")
    fleet.apps = fleet.apps[:1]
    fleet.record("cart", second)
    assert fleet.new() == {}
    git(fleet.clone, "reset", "--quiet", "--hard", "HEAD~1")
    rewritten = fleet.push("other")
    assert fleet.new() == {"cart": rewritten}


def test_a_damaged_record_is_the_problem_of_its_application_alone(fleet: Fleet) -> None:
    head = fleet.push("cart/a", "shop/a")
    fleet.record("shop", head)
    mirror = Mirror(fleet.server.url("config"), Settings(home=fleet.root / "vandal", git_protocols="http"))
    path = "cart/_/20240501T000009.000000Z-release-00000000.json"
    mirror.commit(BRANCH, lambda tree: {path: b"{}"}, "Damage it")
    for _ in range(2):
        found = fleet.look()
        assert found.revisions == ()
        assert found.problems == (
            f"cart: ledger: {path} is not a record; restore it from the branch's history",
        )


def test_a_repository_that_is_gone_is_one_problem_and_the_others_go_on(fleet: Fleet) -> None:
    head = fleet.push("cart/a", "shop/a")
    fleet.apps += [
        fleet.application("lost", source="nowhere"),
        fleet.application("blind", config="no-config"),
    ]
    found = fleet.look()
    assert {r.app for r in found.revisions} == {"cart", "shop"}
    assert [r.sha for r in found.revisions] == [head, head]
    assert len(found.problems) == 2
    assert found.asked == 1


def test_many_applications_are_read_from_one_listing(fleet: Fleet) -> None:
    head = fleet.push("cart/a")
    names = [f"app-{i}" for i in range(80)]
    fleet.apps = [fleet.application(name) for name in names]
    fleet.ledger.append(
        *(Record(Kind.Release, name, START, "made", data={"revision": head}) for name in names[:79])
    )
    assert set(fleet.new()) == {"app-79"}


def test_no_address_is_written_down(fleet: Fleet) -> None:
    fleet.push("cart/a")
    fleet.look()
    kept = (fleet.settings.home / FILE).read_text()
    assert json.loads(kept)["ledgers"]
    assert "http" not in kept
