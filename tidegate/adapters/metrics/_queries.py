"""The PromQL a gate asks: one query written once serves both arms, plus what tells evidence from silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.adapters.metrics._promql import Match, QueryError, Selector, selectors, with_matchers
from tidegate.spec import Gate, Ratio, Threshold

PART = "tidegate"
"""Label that tells the parts of one reply apart."""
SCRAPES_PER_CHECK = 4
"""`increase` needs samples on both sides of a check to extrapolate from."""
ARMS = ("canary", "control")


def arm_matches(gate: Gate, arm: str, selector: Mapping[str, str]) -> tuple[Match, ...]:
    """The matchers of one arm: the caller's, and the track. Pods without a track are control."""
    return (*_matches(selector), Match(gate.track_label, "=" if arm == "canary" else "!=", "canary"))


def _matches(selector: Mapping[str, str]) -> tuple[Match, ...]:
    return tuple(Match(label, "=", value) for label, value in sorted(selector.items()))


def ratio_query(check: Ratio, gate: Gate, selector: Mapping[str, str]) -> str:
    """Bad and all events of both arms per check, and when each arm was last heard of: one snapshot.

    One query, because two could see a scrape arrive between them and count more bad events than events.
    """
    step = f"{gate.every.total_seconds():.0f}s"
    parts = []
    for arm in ARMS:
        matches = arm_matches(gate, arm, selector)
        bad, total = (with_matchers(text, matches) for text in (check.bad, check.total))
        parts.append(_part(f"{arm}_bad", f"sum(increase({bad}[{step}]))"))
        parts.append(_part(f"{arm}_total", f"sum(increase({total}[{step}]))"))
        parts.append(_part(f"{arm}_seen", f"max(timestamp({total}))"))
    return " or ".join(parts)


def threshold_matches(check: Threshold, gate: Gate, selector: Mapping[str, str]) -> tuple[Match, ...]:
    """The matchers a threshold query gets: the canary's, the stage's, or none where it stays as written."""
    match check.arm:
        case "canary":
            return arm_matches(gate, "canary", selector)
        case "stage":
            return _matches(selector)
        case "all":
            return ()


def threshold_query(check: Threshold, gate: Gate, selector: Mapping[str, str]) -> str:
    """The check's number, as the user wrote it."""
    return with_matchers(check.query, threshold_matches(check, gate, selector))


def freshness_query(check: Threshold, gate: Gate, selector: Mapping[str, str]) -> str:
    """When each selector of a threshold query was last heard of."""
    found = selectors(check.query, threshold_matches(check, gate, selector))
    return " or ".join(_part(f"seen_{i}", f"max(timestamp({s}))") for i, s in enumerate(found))


def targets_query(gate: Gate, selector: Mapping[str, str], workloads: Sequence[str]) -> str:
    """Canary targets that answered every scrape of a check; of these workloads, where a label `pod` tells."""
    matches = arm_matches(gate, "canary", selector)
    if workloads:  # the pattern also matches a target without that label
        names = "|".join(sorted(name.replace(".", "[.]") for name in workloads))
        matches = (*matches, Match("pod", "=~", f"(({names})-.*)?"))
    up = Selector("up", matches)
    return f"sum(min_over_time({up}[{gate.every.total_seconds():.0f}s]))"


def _part(name: str, query: str) -> str:
    return f'label_replace({query}, "{PART}", "{name}", "", "")'


def problems(gate: Gate) -> list[str]:
    """Everything in a gate that cannot work, one sentence each; asks no server."""
    found = _timing(gate)
    for check in gate.checks:
        match check:
            case Ratio():
                for name, text in (("bad", check.bad), ("total", check.total)):
                    found += [f"{check.name}: {name}: {p}" for p in _counter(text, gate)]
            case Threshold():
                found += [f"{check.name}: {p}" for p in _number(check, gate)]
    return found


def _timing(gate: Gate) -> list[str]:
    every, scrape = gate.every.total_seconds(), gate.scrape_interval.total_seconds()
    found = []
    if every < SCRAPES_PER_CHECK * scrape:
        least = f"{SCRAPES_PER_CHECK} scrape intervals ({SCRAPES_PER_CHECK * scrape:g} s)"
        found.append(f"every: {every:g} s is too short for counters; a check lasts at least {least}")
    if every != round(every):
        found.append(f"every: {every:g} s; a check lasts whole seconds")
    return found


def _counter(text: str, gate: Gate) -> list[str]:
    """What is wrong with a text that should be one counter selector."""
    try:
        found = selectors(text)
        if with_matchers(text) != " ".join(str(s) for s in found):
            return ["is one counter selector, without function, range, offset or @"]
    except QueryError as error:
        return [str(error)]
    (one,) = found
    if one.metric is None and not one.names("__name__"):
        return ["names no metric"]
    return _track(found, gate)


def _number(check: Threshold, gate: Gate) -> list[str]:
    """What is wrong with a threshold check's query and bounds."""
    found = ["has neither max nor min, so nothing could fail it"] if check.max is check.min is None else []
    try:
        chosen = selectors(check.query)
        with_matchers(check.query, threshold_matches(check, gate, {}))
    except QueryError as error:
        return [*found, f"query: {error}"]
    if not _is_number(check.query):
        found.append("query: gives a range or a string; a number is asked for")
    if not chosen:
        found.append("query: looks at no metric, so it is no evidence")
    return found + ([f"query: {p}" for p in _track(chosen, gate)] if check.arm == "canary" else [])


def _is_number(query: str) -> bool:
    """Does Prometheus take the query where it wants an instant vector or a scalar?"""
    try:
        with_matchers(f"-({query}\n)")
    except QueryError:
        return False
    return True


def _track(chosen: Sequence[Selector], gate: Gate) -> list[str]:
    if not any(s.names(gate.track_label) for s in chosen):
        return []
    return [f"already asks for the label '{gate.track_label}', which tells the arms apart; leave it out"]
