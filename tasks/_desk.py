"""The fleet and the opened desks of this process. Specs are read anew each time; clients are kept."""

from __future__ import annotations

from tidegate.adapters.fleet import load_fleet
from tidegate.operations.desk import Desk, open_desk
from tidegate.settings import settings
from tidegate.spec import Application

_desks: dict[tuple[str, str], Desk] = {}


def application(app: str) -> Application:
    """The application as its spec says now; `SpecError` names the ones there are."""
    return load_fleet(settings()).application(app)


def desk(app: str, stage: str) -> Desk:
    """The desk of a stage; opened anew only when its spec or our settings changed."""
    return desk_of(application(app), stage)


def desk_of(spec: Application, stage: str) -> Desk:
    """The same, for who has the spec at hand."""
    key = (spec.name, stage)
    known = _desks.get(key)
    if known is None or known.application != spec or known.settings != settings():
        _desks[key] = open_desk(spec, stage, settings())
    return _desks[key]
