"""What is true now, read from where it is kept: the ledger, Git, the cluster, Prefect, the visitors' log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.request import Request, urlopen

from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import BRANCH, Ledger
from tidegate.demo.answers import Answers
from tidegate.demo.places import Places
from tidegate.demo.repositories import git
from tidegate.demo.world import Addresses, namespace_of
from tidegate.domain.records import Kind, Record
from tidegate.errors import OutsideError
from tidegate.running.up import Platform
from tidegate.settings import Settings

APP = "digits"


@dataclass(frozen=True, slots=True)
class Course:
    """How one pushed revision fared, from its records; None and empty where it has not come that far."""

    records: tuple[Record, ...]
    """Everything about the release, in order of time."""

    def first(self, kind: Kind, stage: str = "") -> Record | None:
        """The earliest record of a kind, in a stage if named."""
        return next((r for r in self.records if r.kind is kind and stage in ("", r.stage)), None)

    @property
    def release(self) -> str:
        """Id of the release, empty until it is built."""
        made = self.first(Kind.Release)
        return made.release if made else ""

    @property
    def refused(self) -> Record | None:
        """Why `integrate` made no release of it."""
        return self.first(Kind.Refused)

    def live(self, stage: str) -> datetime | None:
        """When it was applied, healthy and verified there."""
        synced = self.first(Kind.Sync, stage)
        return synced.at if synced else None

    @property
    def verdict(self) -> Record | None:
        """The gate's final word."""
        return self.first(Kind.Verdict, "production")

    @property
    def rolled_back(self) -> Record | None:
        """That it was undone in production."""
        return self.first(Kind.Rollback, "production")


class Scene:
    """Reads; changes nothing."""

    def __init__(self, places: Places, addresses: Addresses, platform: Platform) -> None:
        self.addresses, self.platform = addresses, platform
        self.answers = Answers(places.answers)
        self.bare_fleet = places.bare / "fleet.git"
        how = Settings(home=places.home, git_protocols="http:https:ssh")
        self._ledger = Ledger(Mirror(f"{addresses.git}/fleet.git", how))
        self._tip = ""
        self._records: tuple[Record, ...] = ()

    def records(self) -> tuple[Record, ...]:
        """The whole ledger of digits; fetched only when its branch has moved."""
        tip = git(self.bare_fleet, "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}")
        if tip and tip != self._tip:
            try:
                self._records, self._tip = self._ledger.records(app=APP), tip
            except OutsideError:  # the remote is busy: the next look reads it
                return self._records
        return self._records

    def course(self, revision: str) -> Course:
        """What the ledger says about one revision."""
        records = self.records()
        ids = {r.release for r in records if r.kind is Kind.Release and r.data.get("revision") == revision}
        mine = (r for r in records if r.data.get("revision") == revision or r.release in ids - {""})
        return Course(tuple(mine))

    def activity(self) -> str:
        """The run that Prefect is busy with and its newest step; empty when it rests or does not answer."""
        try:
            states = {"state": {"type": {"any_": ["RUNNING"]}}}
            runs = self._prefect("flow_runs/filter", flow_runs=states, sort="START_TIME_DESC", limit=1)
            if not runs:
                return ""
            own = {"flow_run_id": {"any_": [runs[0]["id"]]}, **states}
            steps = self._prefect("task_runs/filter", task_runs=own, sort="EXPECTED_START_TIME_DESC", limit=1)
            return " · ".join(str(found["name"]) for found in (*runs, *steps))
        except (OSError, ValueError, KeyError):
            return ""

    def _prefect(self, path: str, **body: object) -> list[dict[str, Any]]:
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = Request(f"{self.platform.api}/{path}", data, headers, method="POST")  # noqa: S310
        with urlopen(request, timeout=5) as reply:  # noqa: S310  # nosec B310 -- the local server
            found: list[dict[str, Any]] = json.load(reply)
            return found

    def deployments(self, stage: str) -> dict[str, dict[str, Any]]:
        """The live Deployments of a stage by name; `OSError` when the cluster does not answer."""
        url = f"{self.addresses.cluster}/apis/apps/v1/namespaces/{namespace_of(stage)}/deployments"
        with urlopen(url, timeout=10) as reply:  # noqa: S310  # nosec B310 -- the embedded cluster
            return {found["metadata"]["name"]: found for found in json.load(reply)["items"]}

    def commits(self, *words: str) -> list[str]:
        """Lines of `git log` of the config repository."""
        return git(self.bare_fleet, "log", *words).splitlines()


def images(deployment: dict[str, Any]) -> Sequence[str]:
    """The images of a Deployment's containers."""
    return [container["image"] for container in deployment["spec"]["template"]["spec"]["containers"]]
