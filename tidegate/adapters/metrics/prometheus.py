"""`metrics: {kind: prometheus}`: what both arms of a canary counted, read check by check from Prometheus.

A broken Prometheus answers 200 with an empty list, `"NaN"`, or old data under a fresh timestamp, so nothing
is taken on trust: every check without complete, fresh, finite, unambiguous numbers is a gap that says why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from tidegate.adapters.metrics import _queries
from tidegate.adapters.metrics._readings import counted, measured
from tidegate.adapters.metrics._replies import Client, Reply
from tidegate.domain.gate import Sample
from tidegate.errors import SpecError
from tidegate.spec import Check, Duration, Gate, Ratio, Strict, Threshold

log = logging.getLogger(__name__)

_STALE_SCRAPES = 2
"""An arm whose newest sample is older than this many scrape intervals is not evidence."""
_LONGEST_TIMEOUT = timedelta(seconds=25)

Samples = dict[str, tuple[Sample, ...]]


class Settings(Strict):
    """Where Prometheus (or anything with its query API) answers."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    timeout: Duration = timedelta(seconds=10)
    """How long one query may take, at most 25 s."""
    token: SecretStr | None = None
    """Bearer token; better given as a file, because the fleet lies in Git."""
    token_file: Path | None = None
    headers: dict[str, str] = Field(default={})
    """Sent with every query, like `X-Scope-OrgID` of Mimir."""
    ca: Path | None = None
    """Certificates to trust instead of the system's."""

    @field_validator("timeout")
    @classmethod
    def _short_enough(cls, value: timedelta) -> timedelta:
        if not timedelta(0) < value <= _LONGEST_TIMEOUT:
            raise ValueError("a query's timeout is above 0 and at most 25s")
        return value


def build(settings: Settings) -> Prometheus:
    """A source of samples; asks nothing yet."""
    return Prometheus(settings)


def check_queries(gate: Gate) -> list[str]:
    """Everything in a gate's queries and timing that cannot work, one sentence each; asks no server."""
    return _queries.problems(gate)


class Prometheus:
    """Reads the checks of a gate. One session; not for several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(
            settings.url,
            timeout=settings.timeout.total_seconds(),
            headers=_headers(settings),
            ca=settings.ca,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def queries(self, gate: Gate, *, selector: Mapping[str, str] = {}) -> dict[str, tuple[str, ...]]:
        """The PromQL of each check as it is sent, for the record."""
        _refuse(gate)
        return {check.name: _texts(check, gate, selector) for check in gate.checks}

    def collect(
        self,
        gate: Gate,
        *,
        started: float,
        now: float,
        selector: Mapping[str, str] = {},
        canary_targets: int | None = None,
        workloads: Sequence[str] = (),
        known: Mapping[str, Sequence[Sample]] = {},
    ) -> Samples:
        """The samples of every check of the gate, oldest first: all checks that ended by `now`.

        Times are seconds since the epoch; checks are `gate.every` long, aligned to multiples of it, and begin
        after `started` and the warm-up. `selector` holds further label values that both arms must have (a
        namespace). `canary_targets` is how many canary pods should be scraped now: fewer are a gap. `workloads`
        are the names their pods' names begin with; other canaries' pods must not stand in for missing ones.

        What Prometheus does not answer at all (refused, timeout, 5xx) says nothing about older checks: then
        the newest one alone is a gap, or, where `known` brings the samples of the last look, all that ended
        since. `SpecError` for queries that `check_queries` refuses; nothing else is raised.
        """
        _refuse(gate)
        ends = _ends(gate, started, now)
        if not ends:
            return {check.name: () for check in gate.checks}
        look = _Look(self._client, gate, ends, selector)
        short = {} if canary_targets is None else look.short_of_targets(canary_targets, workloads)
        found: Samples = {}
        for check in gate.checks:
            samples = look.samples(check)
            if samples is None:
                found[check.name] = _unanswered(ends, look.silence or "", known.get(check.name, ()))
            else:
                found[check.name] = tuple(_with_gap(sample, short.get(sample.at)) for sample in samples)
        return found


def _headers(settings: Settings) -> dict[str, str]:
    headers = dict(settings.headers)
    token = settings.token.get_secret_value() if settings.token else None
    if settings.token_file is not None:
        try:
            token = settings.token_file.read_text().strip()
        except OSError as error:
            raise SpecError(f"metrics: token_file {settings.token_file}: {error.strerror}") from error
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _refuse(gate: Gate) -> None:
    if found := check_queries(gate):
        raise SpecError("\n".join(f"gate: {problem}" for problem in found))


def _texts(check: Check, gate: Gate, selector: Mapping[str, str]) -> tuple[str, ...]:
    match check:
        case Ratio():
            return (_queries.ratio_query(check, gate, selector),)
        case Threshold():
            return (
                _queries.threshold_query(check, gate, selector),
                _queries.freshness_query(check, gate, selector),
            )


def _ends(gate: Gate, started: float, now: float) -> range:
    """The ends of all finished checks that lie wholly after the start and the warm-up."""
    step = round(gate.every.total_seconds())
    first = math.ceil((started + gate.warmup.total_seconds()) / step) * step + step
    return range(first, math.floor(now) + 1, step)


def _unanswered(ends: range, why: str, known: Sequence[Sample]) -> tuple[Sample, ...]:
    kept = tuple(sample for sample in known if sample.at <= ends[-1])
    fresh = [end for end in ends if not kept or end > kept[-1].at]
    return (*kept, *(Sample(float(end), gap=why) for end in (fresh if kept else fresh[-1:])))


def _with_gap(sample: Sample, gap: str | None) -> Sample:
    return sample if gap is None or sample.gap is not None else Sample(sample.at, gap=gap)


class _Look:
    """One reading of a gate. After a silence nothing more is asked: one timeout, not one per query."""

    def __init__(self, client: Client, gate: Gate, ends: range, selector: Mapping[str, str]) -> None:
        self._client, self._gate, self._ends, self._selector = client, gate, ends, selector
        self._oldest = _STALE_SCRAPES * gate.scrape_interval.total_seconds()
        self.silence: str | None = None

    def ask(self, query: str) -> Reply:
        """The reply to one query, silence included."""
        if self.silence is not None:
            return Reply(silence=self.silence)
        reply = self._client.range(query, self._ends)
        self.silence = reply.silence
        return reply

    def samples(self, check: Check) -> list[Sample] | None:
        """The samples of one check; None when Prometheus did not answer."""
        replies = [self.ask(query) for query in _texts(check, self._gate, self._selector)]
        if self.silence is not None:
            return None
        problem = next((reply.problem for reply in replies if reply.problem), None)
        match check:
            case _ if problem:
                return [Sample(float(end), gap=problem) for end in self._ends]
            case Ratio():
                return counted(replies[0].series, self._ends, self._oldest)
            case Threshold():
                return measured(check, replies[0].series, replies[1].series, self._ends, self._oldest)

    def short_of_targets(self, expected: int, workloads: Sequence[str]) -> dict[float, str]:
        """Checks in which fewer canary targets answered than should have, and the words that say so.

        The newest check needs them all; an older one as many as ever answered before it, because a canary
        grows.
        """
        reply = self.ask(_queries.targets_query(self._gate, self._selector, workloads))
        if reply.silence is not None:
            return {}
        if reply.problem is not None:
            return {float(end): reply.problem for end in self._ends}
        up = reply.series[0].points if reply.series else {}
        gaps: dict[float, str] = {}
        needed = 0
        for end in self._ends:
            count = round(up.get(end, 0))
            needed = expected if end == self._ends[-1] else min(expected, max(needed, count))
            if count < needed:
                gaps[float(end)] = f"{count} of {needed} canary targets answered every scrape"
        return gaps
