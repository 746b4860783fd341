"""The fleet and the opened desks of this process. Specs are read anew each time; clients are kept."""

from __future__ import annotations

from tidegate.adapters.fleet import load_fleet
from tidegate.domain.health.scripts import Scripts
from tidegate.operations.desk import Desk, open_desk
from tidegate.settings import settings
from tidegate.spec import Application

_desks: dict[tuple[str, str], Desk] = {}


def application(app: str) -> Application:
    """The application as its spec says now; `SpecError` names the ones there are."""
    return load_fleet(settings()).application(app)


def desk(app: str, stage: str) -> Desk:
    """The desk of a stage; opened anew only when its spec, the fleet's scripts or our settings changed."""
    fleet = load_fleet(settings())
    return desk_of(fleet.application(app), stage, fleet.health)


def desk_of(spec: Application, stage: str, scripts: Scripts) -> Desk:
    """The same, for who has the spec at hand."""
    key = (spec.name, stage)
    known = _desks.get(key)
    now = (spec, scripts, settings())
    if known is None or (known.application, known.scripts, known.settings) != now:
        _desks[key] = open_desk(spec, stage, settings(), scripts)
    return _desks[key]
