"""E-values for the ratio of two event rates: the arithmetic under `kind: ratio`, without a rule.

Given m = x_c + x_b bad events, x_c ~ Binomial(m, θ(r)) with θ(r) = r·n_c / (r·n_c + n_b): the shared,
changing base rate cancels (Lindon & Malek 2022). An e-value is a mixture of likelihood ratios over a grid
of rate ratios r, tempered by the dispersion φ. Grids, weights and interval: `docs/gate.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegate.domain.gate.limits import REFUTED

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Arm = Sequence[tuple[float, float]]

FAIL_GRID = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
FAIL_WEIGHTS = (0.10, 0.20, 0.30, 0.20, 0.10, 0.10)
PASS_GRID = (1.0, 0.75, 0.5)
PASS_WEIGHTS = (0.7, 0.2, 0.1)
_FARTHEST = 7.0
"""The interval is searched for within |ln r| ≤ this."""
_HALVINGS = 24
"""From a bracket of half a unit of ln r to the six digits that are recorded."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Events and exposures of both arms per check, oldest first; a check without both counts nothing."""

    bad_canary: FloatArray
    total_canary: FloatArray
    bad_control: FloatArray
    total_control: FloatArray
    informative: BoolArray
    """Checks in which both arms had events to count."""

    def first(self, number: int) -> Counts:
        """The first `number` checks."""
        return Counts(*(getattr(self, name)[:number] for name in self.__slots__))


def counts(canary: Arm, control: Arm) -> Counts:
    """Both arms as arrays. A check in which an arm has no exposure adds nothing, so its bad events go too."""
    table = np.hstack([np.reshape(np.asarray(arm, dtype=float), (-1, 2)) for arm in (canary, control)])
    informative = (table[:, 1] > 0) & (table[:, 3] > 0)
    table = np.where(informative[:, None], table, 0.0)
    return Counts(table[:, 0], table[:, 1], table[:, 2], table[:, 3], informative)


def _log_likelihood(data: Counts, ratios: FloatArray) -> FloatArray:
    """ℓ_i(r) for every check i (rows) and ratio r (columns), without the terms in which r does not occur."""
    n_c = np.where(data.informative, data.total_canary, 1.0)[:, None]
    n_b = np.where(data.informative, data.total_control, 1.0)[:, None]
    x_c, m = data.bad_canary[:, None], (data.bad_canary + data.bad_control)[:, None]
    result: FloatArray = x_c * np.log(ratios) - m * np.log(ratios * n_c + n_b)
    return result


def _log_mixture(log_ratios: FloatArray, weights: Sequence[float]) -> FloatArray:
    """`ln Σ w·e^x` along the last axis, without overflow."""
    terms = np.log(np.asarray(weights)) + log_ratios
    top = terms.max(axis=-1, keepdims=True)
    result: FloatArray = top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1))
    return result


def log_e_series(
    data: Counts, null: float, grid: Sequence[float], weights: Sequence[float], phi: FloatArray | float = 1.0
) -> FloatArray:
    """log E against r = `null` after every check; `phi` is one number or one per check (for that prefix)."""
    ell = _log_likelihood(data, np.asarray([null, *grid]))
    summed = np.cumsum(ell[:, 1:] - ell[:, :1], axis=0)
    return _log_mixture(summed / np.reshape(np.asarray(phi, dtype=float), (-1, 1)), weights)


def interval(data: Counts, phi: float = 1.0) -> tuple[float, float]:
    """Anytime-valid 95 % interval of r after the last check: the hull of all r0 that the data do not refute.

    r0 is refuted when the mean of its two e-values (grid r0·g and r0/g) reaches 20. An end that lies beyond
    e^±7 is given as 0 or infinity.
    """
    grid, weights = np.asarray(FAIL_GRID), (*FAIL_WEIGHTS, *FAIL_WEIGHTS)

    def kept(log_r: FloatArray) -> BoolArray:
        r0 = np.exp(log_r)[:, None]
        candidates = np.hstack([r0, r0 * grid, r0 / grid])
        ell = _log_likelihood(data, candidates.ravel()).sum(axis=0).reshape(candidates.shape)
        log_e = _log_mixture((ell[:, 1:] - ell[:, :1]) / phi, weights)
        return log_e - math.log(2) < math.log(REFUTED)

    estimate = _log_estimate(data)
    points = np.sort(np.append(np.linspace(-_FARTHEST, _FARTHEST, 29), estimate))
    inside = points[kept(points)]
    if not len(inside):
        inside = np.asarray([estimate])
    ends = _bisected(kept, points, inside)
    return (
        0.0 if inside[0] <= -_FARTHEST else math.exp(ends[0]),
        math.inf if inside[-1] >= _FARTHEST else math.exp(ends[1]),
    )


def _log_estimate(data: Counts) -> float:
    """ln of the ratio of the arms' shares, kept inside the searched range."""
    bad = (data.bad_canary.sum() + 0.5) / (data.bad_control.sum() + 0.5)
    exposure = data.total_control.sum() / data.total_canary.sum()
    return float(np.clip(math.log(bad * exposure), -_FARTHEST, _FARTHEST))


def _bisected(kept: Callable[[FloatArray], BoolArray], points: FloatArray, inside: FloatArray) -> FloatArray:
    """Both ends of the hull, each between the outermost kept point and its refuted neighbour."""
    below, above = points[points < inside[0]], points[points > inside[-1]]
    refuted = np.asarray([below[-1] if len(below) else inside[0], above[0] if len(above) else inside[-1]])
    held = np.asarray([inside[0], inside[-1]])
    for _ in range(_HALVINGS):
        middle = (refuted + held) / 2
        good = kept(middle)
        held, refuted = np.where(good, middle, held), np.where(good, refuted, middle)
    return held
