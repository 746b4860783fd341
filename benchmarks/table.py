"""The table: plain text, as readable in a file as in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measuring import Goal, Of, Row

_HEAD = ("what", "median", "p95", "floor", "ratio", "goal", "n", "")


def text(rows: Sequence[Row]) -> str:
    """All rows, columns aligned."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    shown = [_line(line, widths) for line in lines]
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = {0, 5, 7}
    aligned = (
        c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(aligned).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    floor, ratio = row.floor_median, row.ratio
    return (
        row.what,
        _number(row, row.median),
        _number(row, row.p95),
        "" if floor is None else _number(row, floor),
        "" if ratio is None else f"{ratio:.2f}×",
        _goal(row),
        str(len(row.values)),
        result(row),
    )


def _number(row: Row, value: float) -> str:
    return f"{value:,.{row.digits}f} {row.unit}"


def _goal(row: Row) -> str:
    goal: Goal | None = row.goal
    if goal is None:
        return ""
    own = " (ours)" if goal.ours else ""
    if goal.of is Of.Ratio:
        return f"≤ {goal.limit:g}×{own}"
    named = "p95 " if goal.of is Of.P95 else ""
    return f"{named}≤ {goal.limit:,g} {row.unit}{own}"


def result(row: Row) -> str:
    """`met`, or by how much it is missed."""
    if row.excess is None:
        return ""
    if row.excess <= 1:
        return "met"
    return "MISSED" if row.excess == float("inf") else f"MISSED, {row.excess:.2f} times the goal"
