"""A desk: one stage of one application with everything around it opened, and nothing looked at yet."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate import plugins
from tidegate.adapters.git import Mirror
from tidegate.adapters.ledger import Ledger
from tidegate.adapters.lua import Scripted
from tidegate.domain.gate import Sample
from tidegate.domain.health import Custom
from tidegate.domain.health.scripts import Scripts
from tidegate.domain.plan import Owner
from tidegate.settings import Settings
from tidegate.spec import Application, Stage

if TYPE_CHECKING:
    from tidegate.adapters.targets import Target

Fence = Callable[[], None]
"""Raises `Conflict` when this process may no longer write for the stage; called before every effect."""


@dataclass(frozen=True)
class Desk:
    """What look, decide and act work with."""

    settings: Settings
    application: Application
    stage: Stage
    config: Mirror
    ledger: Ledger
    target: Target
    renderer: Any
    metrics: Any
    traffic: Any
    checks: tuple[Any, ...]
    scripts: Scripts = field(default_factory=Scripts)
    """The fleet's health scripts."""
    samples: dict[str, Mapping[str, Sequence[Sample]]] = field(default_factory=dict, compare=False)
    """What this process has seen of a canary so far, by its commit: silence is only known to who asked then."""

    @property
    def app(self) -> str:
        """Name of the application."""
        return self.application.name

    @property
    def owner(self) -> Owner:
        """Whose objects these are, in the cluster's marks."""
        return Owner(app=self.app, stage=self.stage.name, installation=self.settings.installation)

    @property
    def custom(self) -> Custom | None:
        """What the fleet's scripts say of an object's health, before our own rules."""
        return Scripted(self.scripts) if self.scripts.by_folder else None

    @property
    def rendered_branch(self) -> str:
        """The branch that says what should be live."""
        return f"tidegate/{self.app}/{self.stage.name}"


def open_desk(
    application: Application, stage: str, settings: Settings, scripts: Scripts | None = None
) -> Desk:
    """Open a stage's desk; no connection is made. `PluginError`, `SpecError` when a section cannot be used."""
    found = application.stage(stage)
    config, ledger = _repository(application.config.git, settings)
    return Desk(
        settings=settings,
        application=application,
        stage=found,
        config=config,
        ledger=ledger,
        target=plugins.build("targets", found.target),
        renderer=plugins.build("renderers", application.config.render),
        metrics=plugins.build("metrics", found.gate.metrics) if found.gate else None,
        traffic=plugins.build("traffic", found.rollout.traffic) if found.rollout else None,
        checks=tuple(plugins.build("checks", section) for section in found.verify),
        scripts=scripts or Scripts(),
    )


@cache
def _repository(url: str, settings: Settings) -> tuple[Mirror, Ledger]:
    """One mirror per repository and process: its readers and what it has read serve all stages that live there."""
    mirror = Mirror(url, settings)
    return mirror, Ledger(mirror)


def digest_key(settings: Settings) -> bytes:
    """The installation's key for the digests that stand for Secret values on the rendered branch.

    From `TIDEGATE_DIGEST_KEY`, which several workers share, else made once under `TIDEGATE_HOME`.
    """
    if settings.digest_key:
        return settings.digest_key.get_secret_value().encode()
    path = Path(settings.home) / "digest.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            path.hardlink_to(fresh)
        fresh.unlink()
    return path.read_bytes()
