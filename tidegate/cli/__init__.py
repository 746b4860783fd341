"""The command line. Every command is loaded when it is called, so `--help` costs no more than it must."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 the answer is no, 2 your file or arguments, 3 ours or
    the outside, 4 unknown outcome, 130 Ctrl-C."""
    from tidegate.cli.frame import run

    return run(arguments)
