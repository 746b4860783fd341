"""The ledger branch: records written once, read once, in order of time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH, Ledger
from tidegate.domain.records import Kind, Record
from tidegate.errors import OutsideError, Unreachable
from tidegate.settings import Settings
from tidegate.sim.git_server import GitServer

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(minute: int, *, app: str = "digits", stage: str = "production", kind: Kind = Kind.Sync) -> Record:
    return Record(
        kind, app, NOON + timedelta(minutes=minute), f"minute {minute}", stage=stage, release="3f2a91c-0a1b2c"
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served") as server:
        server.create("fleet")
        yield server


@pytest.fixture
def mirror(server: GitServer, tmp_path: Path) -> Mirror:
    return Mirror(server.url("fleet"), Settings(home=tmp_path / "home", git_protocols="http"))


@pytest.fixture
def ledger(mirror: Mirror) -> Ledger:
    return Ledger(mirror)


def test_no_ledger_has_no_records(ledger: Ledger) -> None:
    assert ledger.records() == ()
    assert ledger.records("digits", "production", refresh=False) == ()


def test_records_come_back_as_they_were_in_order_of_time(
    ledger: Ledger, tmp_path: Path, mirror: Mirror
) -> None:
    late, early = record(2), record(1)
    ledger.append(late)
    ledger.append(early, record(0, stage="", kind=Kind.Release))
    assert [found.message for found in ledger.records()] == ["minute 0", "minute 1", "minute 2"]
    assert ledger.records()[1:] == (early, late)
    other = Mirror(mirror.url_redacted, Settings(home=tmp_path / "elsewhere", git_protocols="http"))
    assert Ledger(other).records() == ledger.records()


def test_records_are_chosen_by_application_and_stage(ledger: Ledger) -> None:
    shop, staging, production, release = (
        record(1, app="shop"), record(2, stage="staging"), record(3), record(4, stage="", kind=Kind.Release),
    )  # fmt: skip
    ledger.append(shop, staging, production, release)
    assert ledger.records("digits") == (staging, production, release)
    assert ledger.records("digits", "production") == (production,)
    assert ledger.records(stage="production") == (shop, production)
    assert ledger.records("dig") == ()


def test_the_commit_tells_the_story(ledger: Ledger, mirror: Mirror) -> None:
    sha = ledger.append(record(1), record(2))
    (commit,) = mirror.log(BRANCH)
    assert commit.sha == sha
    assert (commit.subject, commit.body) == ("digits production: minute 1", "digits production: minute 2")
    assert commit.trailers == {"Tidegate-Release": "3f2a91c-0a1b2c", "Tidegate-Stage": "production"}
    assert sorted(mirror.paths(sha)) == sorted([record(1).path, record(2).path])


def test_the_same_record_is_written_once(ledger: Ledger, mirror: Mirror) -> None:
    first = ledger.append(record(1))
    assert ledger.append(record(1)) == first
    assert len(mirror.log(BRANCH)) == 1


def test_the_config_branch_stays_as_it_is(ledger: Ledger, mirror: Mirror) -> None:
    main = mirror.commit("main", lambda tree: {"a": b"1"}, "x").sha
    ledger.append(record(1))
    assert mirror.fetch("main") == {"main": main}
    assert mirror.height(mirror.tip(BRANCH) or "") == 1


def test_a_record_is_read_from_git_once(
    ledger: Ledger, server: GitServer, tmp_path: Path, mirror: Mirror
) -> None:
    writer = Ledger(Mirror(mirror.url_redacted, Settings(home=tmp_path / "writer", git_protocols="http")))
    for minute in range(20):
        writer.append(record(minute))
    assert len(ledger.records()) == 20
    writer.append(record(20))
    server.requests.clear()
    assert len(ledger.records()) == 21
    posts = [request for request in server.requests if request.method == "POST"]
    assert len(posts) == 4  # what is new? (asked, then fetched: two) and that one record
    server.requests.clear()
    assert len(ledger.records(refresh=False)) == 21
    assert not server.requests


def test_history_is_there_and_grows_while_the_remote_is_down(
    ledger: Ledger, server: GitServer, mirror: Mirror
) -> None:
    ledger.append(record(1))
    ledger.records()
    server.stop()
    with pytest.raises(Unreachable):
        ledger.records()
    ledger.append(record(2, kind=Kind.Rollback), offline=True)
    assert [found.kind for found in ledger.records(refresh=False)] == [Kind.Sync, Kind.Rollback]
    server.start()
    assert mirror.push_pending()
    assert len(ledger.records()) == 2


def test_two_writers_append_at_once(ledger: Ledger, mirror: Mirror, tmp_path: Path) -> None:
    other = Ledger(Mirror(mirror.url_redacted, Settings(home=tmp_path / "other", git_protocols="http")))
    for minute in range(5):
        ledger.append(record(minute))
        other.append(record(minute, app="shop"))
    assert len(ledger.records()) == 10


def test_a_file_that_is_no_record_is_named(ledger: Ledger, mirror: Mirror) -> None:
    ledger.append(record(1))
    mirror.commit(
        BRANCH, lambda tree: {"digits/production/bad.json": json.dumps({"kind": "x"}).encode()}, "by hand"
    )
    with pytest.raises(OutsideError, match=r"digits/production/bad\.json is not a record"):
        ledger.records()


def test_nothing_to_append_is_a_mistake(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="no record"):
        ledger.append()
