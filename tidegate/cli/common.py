"""What commands share: the fleet they speak of, the settings, their common options. Everything heavy comes late."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from tidegate.adapters.fleet import Fleet
    from tidegate.operations.desk import Desk
    from tidegate.settings import Settings
    from tidegate.spec import Application

F = TypeVar("F", bound=Callable[..., Any])


def fleet_option(command: F) -> F:
    """`--fleet`: another fleet than `TIDEGATE_FLEET`."""
    text = "Folder of specs, or <git url>//<dir>@<branch>.  [default: $TIDEGATE_FLEET, deployments]"
    return click.option("--fleet", metavar="FLEET", help=text)(command)


def output_option(command: F) -> F:
    """`-o json|text`."""
    choice = click.Choice(["text", "json"])
    return click.option("-o", "--output", type=choice, default="text", show_default=True, help="For whom.")(
        command
    )


class _Completed(click.ParamType[str]):
    """A name that the shell can complete from the fleet."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            names = self._names(ctx)
        except Exception:  # completion must never print
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    def _names(self, ctx: click.Context) -> list[str]:
        fleet = load(ctx.params.get("fleet"))
        if self.name == "app":
            return [app.name for app in fleet.applications]
        return [stage.name for stage in fleet.application(ctx.params["app"]).stages]


APP, STAGE = _Completed("app"), _Completed("stage")


def how(fleet: str | None) -> Settings:
    """The settings, with the fleet of `--fleet`. `SpecError` names the variable that cannot be used."""
    from pydantic import ValidationError

    from tidegate.errors import SpecError
    from tidegate.settings import settings

    try:
        found = settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"TIDEGATE_{'_'.join(map(str, first['loc'])).upper()}"
        raise SpecError(f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
    return found.model_copy(update={"fleet": fleet}) if fleet else found


def load(fleet: str | None) -> Fleet:
    """The fleet of `--fleet`, else of the settings."""
    from tidegate.adapters.fleet import load_fleet

    return load_fleet(how(fleet))


def chosen(fleet: str | None, app: str | None) -> list[Application]:
    """The application of that name, or all."""
    found = load(fleet)
    return [found.application(app)] if app else list(found.applications)


def stage_names(application: Application, stage: str | None) -> list[str]:
    """The stage of that name, or all in order; `SpecError` names the likely one and those there are."""
    from tidegate.errors import SpecError
    from tidegate.spec.places import likely

    names = [s.name for s in application.stages]
    if stage is not None and stage not in names:
        raise SpecError(
            f"{application.name} has no stage '{stage}'; {likely(stage, names, there='there is')}"
        )
    return [stage] if stage else names


def desk(fleet: str | None, app: str, stage: str) -> Desk:
    """The desk of one stage; nothing is looked at yet."""
    from tidegate.operations.desk import open_desk

    found = load(fleet)
    application = found.application(app)
    stage_names(application, stage)
    return open_desk(application, stage, how(fleet), found.health)


def person() -> str:
    """Who is asking, for the record: the login name."""
    import getpass

    from tidegate.errors import SpecError

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise SpecError("this login has no name; say who you are with --by") from error
