"""A verdict as a picture: what both arms did over time, where the limit was, and when it was decided."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tidegate.domain.gate import Outcome, Sample, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _DPI = 9.0, 100
_INK, _FAINT, _PAPER = "#20262e", "#7b8794", "#f6f7f9"
_CANARY, _CONTROL = "#c8500a", "#0b6aa8"
"""Vermilion and blue: apart for every kind of colour sight."""
_GAP = "#d9dde3"
_COLOURS = {
    Outcome.Successful: "#1a7f4b",
    Outcome.Failed: "#b3261e",
    Outcome.Error: "#8e44ad",
    Outcome.Inconclusive: "#8a6d00",
    Outcome.Running: "#52606d",
}
_MOST_CHECKS = 5
_MOST_WORDS = 128
_TITLE, _BETWEEN, _AXIS = 0.85, 0.12, 0.5
"""Inches above, between and below the axes of a panel."""


def verdict_chart(verdict: Verdict) -> bytes:
    """A PNG of 900 px width, under 60 kB: one panel per check, or one for the verdict of a single test.

    Shares of bad events of both arms per check with the number of events below, or the values of a
    threshold; the limit dashed, gaps grey, the deciding moment as a line. It has its own paper, for light
    and dark pages.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [_Panel.of(part, verdict) for part in _shown(verdict)]
    height = sum(panel.height for panel in panels)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor=_PAPER)
    canvas = FigureCanvasAgg(figure)
    top = height
    for panel in panels:
        _draw(figure, panel, top)
        top -= panel.height
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in a script the font lacks is drawn as boxes, not an error
        canvas.draw()  # type: ignore[no-untyped-call]
    return _png(canvas)


def _shown(verdict: Verdict) -> Sequence[Verdict]:
    """The checks to draw, those that say what the gate says first."""
    if not verdict.parts:
        return (verdict,)
    return sorted(verdict.parts, key=lambda part: part.outcome is not verdict.outcome)[:_MOST_CHECKS]


def _png(canvas: Any) -> bytes:
    """The drawn canvas with a palette: a third of the size, and the same bytes for the same verdict."""
    from PIL import Image

    size = canvas.get_width_height()
    picture = Image.frombuffer("RGBA", size, bytes(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    picture.quantize(96, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class _Panel:
    """One check, and the clock it is drawn by."""

    part: Verdict
    started: float
    unit: float
    """Seconds per unit of the axis; 1 when the axis counts checks."""
    label: str

    @classmethod
    def of(cls, part: Verdict, whole: Verdict) -> _Panel:
        started = whole.parameters.get("started")
        if not isinstance(started, float):
            return cls(part, 0.0, 1.0, "check")
        last = max((sample.at for sample in part.samples), default=started)
        long = last - started >= 180
        return cls(
            part, started, 60.0 if long else 1.0, "minutes since start" if long else "seconds since start"
        )

    @property
    def is_ratio(self) -> bool:
        return not isinstance(self.check.get("query"), str)

    @property
    def check(self) -> dict[str, Any]:
        found = self.part.parameters.get("check")
        return found if isinstance(found, dict) else {}

    @property
    def plots(self) -> tuple[float, ...]:
        """Heights of its axes, inches."""
        return (1.75, 0.5) if self.is_ratio else (1.5,)

    @property
    def height(self) -> float:
        return _TITLE + sum(self.plots) + _BETWEEN * (len(self.plots) - 1) + _AXIS

    def clock(self, at: float) -> float:
        return (at - self.started) / self.unit


def _draw(figure: Figure, panel: _Panel, top: float) -> None:
    """One panel below `top` (inches from the bottom of the figure)."""
    left, right = 0.72 / _WIDTH, 1 - 0.22 / _WIDTH
    total = figure.get_figheight()
    bottom = top - _TITLE
    axes: list[Axes] = []
    for height in panel.plots:
        bottom -= height
        axes.append(figure.add_axes((left, bottom / total, right - left, height / total)))
        bottom -= _BETWEEN
    if panel.is_ratio:
        _shares(axes[0], panel)
        _totals(axes[1], panel)
        axes[0].tick_params(labelbottom=False)
    else:
        _values(axes[0], panel)
    for each in axes:
        _calm(each, panel)
    _title(axes[0], panel.part, panel.plots[0])
    axes[-1].set_xlabel(panel.label, color=_FAINT, fontsize=9, labelpad=2)


def _title(axes: Axes, part: Verdict, height: float) -> None:
    """The outcome, the sentence, and what the colours mean."""
    words = textwrap.shorten(part.message or part.check, 2 * _MOST_WORDS, placeholder=" …")
    lines = textwrap.wrap(words, _MOST_WORDS)
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "parse_math": False,  # a dollar sign in a name is a dollar sign
    }
    axes.annotate("\n".join(lines), (0, 1), (0, 7), color=_INK, fontsize=9, **style)
    above = 13 + 12 * max(1, len(lines))
    colour = _COLOURS[part.outcome]
    axes.annotate(
        part.outcome.value, (0, 1), (0, above), color=colour, fontsize=12, fontweight="bold", **style
    )
    legend = axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1 + (above - 4) / 72 / height),
        borderaxespad=0,
        ncols=5,
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_color(_INK)


def _shares(axes: Axes, panel: _Panel) -> None:
    """Bad events as a share of all, per check and arm; the limit is the stable pods' share so far, times the ratio."""
    samples = panel.part.samples
    times = [panel.clock(sample.at) for sample in samples]
    for arm, colour, label in (("control", _CONTROL, "stable"), ("canary", _CANARY, "canary")):
        shares = [_share(_counts(sample, arm)) for sample in samples]
        axes.plot(times, shares, color=colour, linewidth=1.6, marker="o", markersize=3.2, label=label)
    ratio = panel.check.get("min_ratio")
    if isinstance(ratio, float):
        limits = [share * ratio for share in _running_shares(samples)]
        axes.plot(
            times,
            limits,
            color=_INK,
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            label=f"{ratio:g} × stable so far",
        )
    axes.set_ylabel("bad, %", color=_FAINT, fontsize=9)
    axes.margins(y=0.12)


def _counts(sample: Sample, arm: str) -> tuple[float, float] | None:
    counts = sample.canary if arm == "canary" else sample.control
    usable = sample.gap is None and counts is not None and all(map(math.isfinite, counts))
    return counts if usable else None


def _share(counts: tuple[float, float] | None) -> float:
    """Percent of bad events; NaN, which breaks the line, where there is nothing to divide."""
    return 100 * counts[0] / counts[1] if counts and counts[1] > 0 else math.nan


def _running_shares(samples: Sequence[Sample]) -> list[float]:
    """Percent of bad events of the control up to each check."""
    bad = total = 0.0
    shares = []
    for sample in samples:
        counts = _counts(sample, "control") or (0.0, 0.0)
        bad, total = bad + counts[0], total + counts[1]
        shares.append(_share((bad, total)))
    return shares


def _totals(axes: Axes, panel: _Panel) -> None:
    """All events per check and arm, stacked."""
    samples = panel.part.samples
    times = [panel.clock(sample.at) for sample in samples]
    width = 0.8 * _spacing(times)
    below = [0.0] * len(samples)
    for arm, colour in (("control", _CONTROL), ("canary", _CANARY)):
        totals = [(_counts(sample, arm) or (0.0, 0.0))[1] for sample in samples]
        axes.bar(times, totals, width=width, bottom=below, color=colour, alpha=0.75, linewidth=0)
        below = [low + more for low, more in zip(below, totals, strict=True)]
    axes.set_ylabel("events", color=_FAINT, fontsize=9)
    axes.locator_params(axis="y", nbins=2)


def _values(axes: Axes, panel: _Panel) -> None:
    """A threshold's values and its bounds."""
    times = [panel.clock(sample.at) for sample in panel.part.samples]
    values = [sample.canary[0] if sample.canary else math.nan for sample in panel.part.samples]
    axes.plot(times, values, color=_CANARY, linewidth=1.6, marker="o", markersize=3.2, label="value")
    for name in ("max", "min"):
        bound = panel.check.get(name)
        if isinstance(bound, (int, float)):
            label = f"{name} {bound:g}"
            axes.axhline(bound, color=_INK, linewidth=1.1, linestyle=(0, (4, 3)), label=label)
    axes.margins(y=0.15)


def _spacing(times: Sequence[float]) -> float:
    return min((b - a for a, b in pairwise(times)), default=1.0)


def _calm(axes: Axes, panel: _Panel) -> None:
    """Grid, spines, ticks, gaps and the deciding moment, the same for every panel."""
    axes.set_facecolor("#ffffff")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GAP)
    axes.tick_params(colors=_FAINT, labelsize=9, length=3)
    axes.grid(axis="y", color=_GAP, linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_ylim()[0] > 0 or panel.is_ratio:
        axes.set_ylim(bottom=0)
    _gaps(axes, panel)
    at = panel.part.parameters.get("at")
    if isinstance(at, float) and panel.part.outcome in (Outcome.Failed, Outcome.Successful, Outcome.Error):
        axes.axvline(panel.clock(at), color=_COLOURS[panel.part.outcome], linewidth=1.6, alpha=0.9)


def _gaps(axes: Axes, panel: _Panel) -> None:
    """Checks without evidence as grey stripes."""
    times = [panel.clock(sample.at) for sample in panel.part.samples]
    width = _spacing(times)
    label = "no evidence"
    for sample, time in zip(panel.part.samples, times, strict=True):
        if sample.gap is not None or sample.canary is None:
            axes.axvspan(time - width / 2, time + width / 2, color=_GAP, linewidth=0, label=label, zorder=0)
            label = "_"
    if times:
        axes.set_xlim(times[0] - width, times[-1] + width)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
