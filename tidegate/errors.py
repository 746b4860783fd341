"""The whole error family. Adapters translate library exceptions into it; nobody else catches those.

    TidegateError                  exit code 3, not retryable
    ├── SpecError                  2   your file or arguments; says file:line:column and the likely correction
    ├── PluginError                2   no such kind, or a kind that cannot be used here
    ├── Refused                    1   we could, and will not: the answer is no (hold, gate, guard)
    └── OutsideError               3   somebody else's system
        ├── Unreachable            3   nobody answered, or "come back later"; retryable
        ├── Conflict               3   somebody else changed it first; look again
        ├── Rejected               3   it answered, and said no
        ├── NotFound               3   it answered: there is no such thing
        └── Unknown                4   the effect may have happened: read back, then decide

Messages: subject, what happened, what helps; lower case, no full stop; the cause is chained. The class says
whether to retry: one rule for every task reads `retryable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class TidegateError(Exception):
    """Base of everything Tidegate raises on purpose."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file the user wrote, its place (from 1), and what helps."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}" + (
            f"; {self.hint}" if self.hint else ""
        )


class SpecError(TidegateError):
    """What the user wrote cannot be used; the message carries one line per problem."""

    exit_code = 2

    def __init__(self, message: str = "", *, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message or "\n".join(map(str, problems)))
        self.problems = tuple(problems)
        """All of them, when they have places in files."""


class PluginError(TidegateError):
    """A kind that does not exist, or cannot work here (a binary or package is missing)."""

    exit_code = 2


class Refused(TidegateError):
    """We could have done it and decided not to."""

    exit_code = 1


class OutsideError(TidegateError):
    """Git server, registry, API server, Prometheus, a tool: something that is not ours."""


class Unreachable(OutsideError):
    """No answer, a timeout, or an answer that means "later" (429, 503)."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the server asked us to wait, when it did."""


class Conflict(OutsideError):
    """Optimistic locking or field ownership: somebody else wrote first."""


class Rejected(OutsideError):
    """The other side understood and refused."""


class NotFound(OutsideError):
    """The other side has no such thing."""


class Unknown(OutsideError):
    """The request may have had its effect although no answer came."""

    exit_code = 4
