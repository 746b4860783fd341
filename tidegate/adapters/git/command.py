"""Git through GitPython's command driver, with our environment, a deadline, and a kill that reaches children.

GitPython passes the whole process environment on and puts no limit on time. `Command.execute` is the one
place all of it goes through (also `Repo`'s own calls and its `cat-file --batch`), so the rules hold
everywhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from git import Git, GitCommandError

from tidegate.adapters.git.exchange import TooMuch, exchange
from tidegate.errors import OutsideError, Rejected, Unreachable


@dataclass(frozen=True, slots=True)
class Output:
    """What a git command left."""

    code: int
    out: bytes
    err: str


class Command(Git):
    """One driver per thread: GitPython's objects are not to be shared."""

    __slots__ = ()

    def execute(self, command: Sequence[str], istream: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """GitPython's entry. Processes it talks to itself get no pipe for stderr: nobody would empty it."""
        if options.get("as_process"):
            return self.AutoInterrupt(
                self._start(
                    [self.GIT_PYTHON_GIT_EXECUTABLE or "git", *command[1:]], istream, subprocess.DEVNULL
                ),
                command,
            )
        done = self.run(command[1:])
        if done.code:
            raise GitCommandError(list(command), done.code, done.err)
        return done.out.decode(errors="surrogateescape").removesuffix("\n")

    def run(
        self, words: Sequence[str], stdin: bytes = b"", timeout: float = 25.0, limit: int = 2**28
    ) -> Output:
        """Runs `git <words>` in a process group of its own, which is killed as a whole.

        `Unreachable` after `timeout` seconds, `Rejected` when it writes more than `limit` bytes.
        """
        process = self._start([self._program, *words], subprocess.PIPE, subprocess.PIPE)
        with process:
            try:
                out, err = exchange(process, stdin, seconds=timeout, limit=limit)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise Unreachable(f"git {_verb(words)}: no answer within {timeout:.0f} s") from None
            except TooMuch:
                _kill(process)
                raise Rejected(
                    f"git {_verb(words)}: more than {limit} bytes; the repository is too large"
                ) from None
            except BaseException:
                _kill(process)
                raise
        return Output(process.returncode, out, err.decode(errors="replace"))

    @property
    def _program(self) -> str:
        return self.GIT_PYTHON_GIT_EXECUTABLE or "git"

    def _start(self, command: Sequence[str], stdin: Any, stderr: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd="/",
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # one group to kill, and no terminal to ask on
            )
        except FileNotFoundError as error:
            raise OutsideError("git: not installed; install git 2.31 or newer") from error
        except OSError as error:  # EMFILE, EAGAIN, ENOMEM: the machine is at a limit, not git
            raise Unreachable(
                f"git: could not be started ({error.strerror}); the machine is at a limit"
            ) from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Asks first: git removes its lock and temporary files on SIGTERM."""
    for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _verb(words: Sequence[str]) -> str:
    """`fetch` of `-c x=y fetch --quiet …`."""
    rest = list(words)
    while rest[:1] == ["-c"]:
        del rest[:2]
    return rest[0] if rest else ""
