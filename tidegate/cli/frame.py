"""The frame of the command line: which commands there are, how they fail, what the exit code is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

_COMMANDS = {
    # heading -> name -> (module below tidegate.cli, one line of help); order is the order of the help
    "Look, change nothing": {
        "validate": ("specs", "Check the fleet's specs; every mistake with its line."),
        "schema": ("specs", "Print the JSON Schema of a spec, for editors."),
        "status": ("status", "Where every stage stands and what comes next."),
        "plan": ("plans", "What applying Git would change in a stage."),
        "render": ("plans", "The manifests a stage's folder becomes."),
        "history": ("ledger", "What was decided and done, from the ledger in Git."),
        "verify-ledger": ("ledger", "Judge every recorded verdict again."),
        "health": ("health", "Run health scripts on their test cases."),
        "doctor": ("doctor", "Check tools, servers, clusters and repositories."),
    },
    "Act": {
        "run": ("start", "Start the pipeline for an application."),
        "promote": ("acts", "Put a release into a stage now."),
        "approve": ("acts", "Say yes to what a stage waits for."),
        "rollback": ("acts", "Restore a stage's last good state, hold what is there."),
    },
    "Run Tidegate": {
        "up": ("serve", "Server, registration and runner for a fleet."),
        "demo": ("serve", "The whole story on this machine."),
    },
}
_WHERE = {name: entry for group in _COMMANDS.values() for name, entry in group.items()}

_EXAMPLES = """\b
Examples:
  tidegate validate                      check deployments/, or TIDEGATE_FLEET
  tidegate status shop                   where shop's stages stand
  tidegate plan shop production          what applying Git would change
  tidegate history shop -n 20            the last twenty decisions
  tidegate approve shop production       let the waiting release go on
  tidegate status -o json | jq .         for machines

\b
Exit codes: 0 done, 1 the answer is no, 2 your file or arguments,
3 ours or the outside, 4 unknown outcome, 130 Ctrl-C."""


class _Commands(click.Group):
    """A group that knows its commands by name and loads one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _WHERE:
            return None
        module = import_module(f"tidegate.cli.{_WHERE[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _WHERE and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, _WHERE, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "`tidegate --help` shows them"
            raise click.UsageError(f"no command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, group in _COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, text) for name, (_, text) in group.items()], col_spacing=3)


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tidegate {version('tidegate')}")
        ctx.exit()


@click.group(
    cls=_Commands,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print it."
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
def tidegate(verbose: int) -> None:
    """From git push to production, gated on evidence."""
    _log(verbose)


def _log(verbose: int) -> None:
    """Library warnings as sentences on stderr."""
    import logging

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(format="tidegate: %(message)s", level=logging.WARNING, stream=sys.stderr)
    for name in ("tidegate", "flows", "tasks"):
        logging.getLogger(name).setLevel(level)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; all that can go wrong ends in a sentence on stderr."""
    try:
        code = tidegate.main(args=arguments, prog_name="tidegate", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _usage(error)
    except BrokenPipeError:  # `tidegate history | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _failed(error)


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "tidegate"
    text = error.format_message().rstrip(".")
    text = text[:1].lower() + text[1:]
    hint = "" if "; " in text else f"; `{command} --help` shows what it takes"
    print(f"tidegate: {text}{hint}", file=sys.stderr)
    return 2


def _failed(error: Exception) -> int:
    from tidegate.errors import SpecError, TidegateError

    if isinstance(error, SpecError) and error.problems:
        print(error, file=sys.stderr)
        return error.exit_code
    if isinstance(error, TidegateError):
        print(f"tidegate: {error}", file=sys.stderr)
        return error.exit_code
    if os.environ.get("TIDEGATE_DEBUG"):
        import traceback

        traceback.print_exception(error)
    else:
        said = str(error).partition("\n")[0][:300]
        print(
            f"tidegate: a mistake of ours, {type(error).__name__}: {said}; TIDEGATE_DEBUG=1 shows where",
            file=sys.stderr,
        )
    return 3
