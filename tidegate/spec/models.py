"""What users write: `Application` and its `Stage`s, read from the fleet folder, frozen, unknown keys refused."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> timedelta:
    """`90s`, `15m`, `1h30m`, `2d` as people write them in Kubernetes and Prometheus."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and value and not _DURATION.sub("", value):
        return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in _DURATION.findall(value)))
    raise ValueError("a duration is a number with a unit, like 30s, 15m or 1h30m")


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back."""
    seconds = value.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$", "examples": ["30s", "15m", "1h30m"]}
    ),
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Strict(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Section(BaseModel):
    """A plug-in's section: `kind` names the file, the rest is checked by that plug-in's `Settings`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but `kind`."""
        return dict(self.__pydantic_extra__ or {})


def _kind_only(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


KindOrSection = Annotated[Section, BeforeValidator(_kind_only)]


class Source(Strict):
    """Where the code lives and which of its paths matter."""

    git: str
    """Address of the repository, `https://…` or `ssh://…`; no password in it."""
    branch: str = "main"
    """The branch whose commits become releases."""
    paths: tuple[str, ...] = ("**",)
    """Patterns of the paths that make a commit a new revision: `*` stays in a folder, `**` crosses them."""


class Test(Strict):
    """A command; exit code 0 passes. `junit` is read when the file is there."""

    __test__ = False  # not a pytest class

    run: tuple[str, ...]
    """Program and arguments; no shell."""
    timeout: Duration = timedelta(minutes=15)
    """Then it is killed with all its children."""
    junit: str | None = None
    """JUnit XML report that the command leaves, below the source."""
    memory: str = "2Gi"
    """Most memory of each process, like `512Mi` or `2Gi`."""
    env: dict[str, str] = {}
    """Its environment besides PATH and an empty HOME."""


def _builder(value: object) -> object:
    return {"kind": "docker", **value} if isinstance(value, dict) and "kind" not in value else value


class Integrate(Strict):
    """Code audit, tests, build: what makes a revision a release."""

    audit: tuple[KindOrSection, ...] = ()
    """What looks at the code before it is built; one that finds something refuses the revision."""
    test: Test | None = None
    """The tests; they run beside the audits."""
    build: Annotated[Section, BeforeValidator(_builder)]
    """How the source becomes an image; kind `docker` when none is named."""


class Config(Strict):
    """The config repository and how its folders become manifests."""

    git: str
    """Address of the repository that says what should be live."""
    branch: str = "main"
    """The branch that promotions are committed to."""
    render: KindOrSection = Section(kind="plain")
    """How a stage's folder becomes manifests."""
    images: str | None = None
    """For Helm values: the dotted path of the image. Plain and kustomize find it by name."""


class After(Strict):
    """What the stage before must have shown."""

    soak: Duration = timedelta(0)
    """How long the release must have been live and well there."""


class Approval(Strict):
    """How many people must say yes, and which groups they may come from."""

    need: Annotated[int, Field(ge=1)] = 1
    """How many different people."""
    from_: tuple[str, ...] = Field(default=(), alias="from")
    """Groups that may approve. For people to read: nothing vouches for a name yet, so it is taken on trust."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Window(Strict):
    """When a stage may change: `allow` or `deny`, like `Mon-Thu 08:00-16:00`, in a time zone."""

    allow: str | None = None
    """Changes may start only inside, like `Mon-Thu 08:00-16:00`, `Sat 10:00-12:00`, `22:00-06:00`."""
    deny: str | None = None
    """Changes may not start inside; beats every `allow`."""
    zone: str = "UTC"
    """Time zone of the hours."""


class Rollout(Strict):
    """How a new version takes the traffic."""

    kind: Literal["canary"] = "canary"
    weights: tuple[Annotated[int, Field(gt=0, lt=100)], ...]
    """Shares of the replicas in percent, rising; after the last comes everything."""
    every: Duration = timedelta(minutes=10)
    """Shortest time at each weight."""
    traffic: KindOrSection = Section(kind="replicas")
    """How the weights come about."""


class Ratio(Strict):
    """Bad events against all events, canary against stable (an anytime-valid test, `docs/gate.md`)."""

    kind: Literal["ratio"] = "ratio"
    name: str
    """Name in verdicts and reasons."""
    bad: str
    """Counter selector of the bad events."""
    total: str
    """Counter selector of all events."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """How often a canary that is no worse may fail, however often it is looked at."""
    min_ratio: Annotated[float, Field(gt=1)] = 1.25
    """It fails only when it is beyond doubt worse and at least this many times as bad."""
    max_ratio: Annotated[float, Field(gt=1)] = 2.0
    """It passes when being this many times as bad can be excluded."""
    floor: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of bad events below which nobody cares."""
    critical: bool = True
    """Whether it can fail the gate and must pass for it to open."""


class Threshold(Strict):
    """One number from one query against a bound; a value equal to the bound passes."""

    kind: Literal["threshold"] = "threshold"
    name: str
    """Name in verdicts and reasons."""
    query: str
    """PromQL that gives one number; the canary's matchers are put into every selector of it."""
    max: float | None = None
    """Largest value that passes."""
    min: float | None = None
    """Smallest value that passes."""
    arm: Literal["canary", "stage", "all"] = "canary"
    """Which pods the query looks at: the canary's, all of the stage's, or `all`: it is left as written."""
    failures: Annotated[int, Field(ge=0)] = 0
    """Failing measurements that are tolerated; one more fails the check."""
    critical: bool = True
    """Whether it can fail the gate and must pass for it to open."""


Check = Annotated[Ratio | Threshold, Field(discriminator="kind")]


class Gate(Strict):
    """What must be seen in the metrics before the next step."""

    metrics: Section
    """Where to ask."""
    checks: tuple[Check, ...] = Field(min_length=1)
    """What to ask; all critical ones must pass."""
    every: Duration = timedelta(minutes=1)
    """Length of one check interval; at least four scrape intervals."""
    min_bake: Duration = timedelta(minutes=10)
    """Shortest life of a canary, however good it looks."""
    max_duration: Duration = timedelta(minutes=60)
    """Then the gate stops waiting, and `inconclusive` decides."""
    inconclusive: Literal["hold", "rollback", "promote"] = "hold"
    """What happens when the evidence decides nothing in time."""
    warmup: Duration = timedelta(0)
    """Life of a canary pod that is no evidence yet."""
    track_label: str = "track"
    """Prometheus label that carries the pods' `tidegate.dev/track`."""
    namespace_label: str = "namespace"
    """Prometheus label that carries the pods' namespace: both arms are asked for in the target's; empty: not."""
    scrape_interval: Duration = timedelta(seconds=15)
    """How often the targets are scraped; older samples than two of these are stale."""


class Stage(Strict):
    """One environment of one application."""

    name: Name
    """Name in commands, branches and records."""
    path: str
    """Folder of the stage in the config repository."""
    target: Section
    """Where it runs."""
    verify: tuple[Section, ...] = ()
    """What must answer after a deployment before it counts as good."""
    after: dict[str, After] = {}
    """Stages that must have shown the release first, and for how long."""
    approval: Approval | None = None
    """People who must say yes before a release enters."""
    windows: tuple[Window, ...] = ()
    """When changes may start; without `allow` at any time."""
    rollout: Rollout | None = None
    """Canary in steps; without it everything at once."""
    gate: Gate | None = None
    """What judges the canary."""
    on_failure: Literal["rollback", "hold"] = "rollback"
    """What happens to a release that fails here."""
    progress_deadline: Duration = timedelta(minutes=10)
    """How long the stage may take to become healthy after an apply."""
    supersede: Literal["supersede", "queue", "finish"] = "supersede"
    """What a newer release does to one that is under way: replace it, wait in line, or let it finish."""


class Application(Strict):
    """One deliverable: where its code is, how it becomes a release, where the release goes."""

    kind: Literal["Application"]
    name: Name
    """Name in commands, branches and records."""
    source: Source
    """The code."""
    integrate: Integrate
    """From a commit to a release."""
    config: Config
    """Desired state."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """Where releases go, in order."""

    def stage(self, name: str) -> Stage:
        """The stage of that name; `KeyError` when there is none."""
        return next(s for s in self.stages if s.name == name)
