"""How much more the counts scatter than independent events would: φ, by which the evidence is divided.

Calibration matters as much as the test: bursty noise of each arm breaks every untempered sequential rule
(`docs/gate.md`, "Dispersion"). With an A/A history φ is measured; without one it is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BLOCK_SECONDS = 300.0
ASSUMED_TAU = 0.02
"""Within-block correlation of events that is assumed when there is no history."""

FloatArray = npt.NDArray[np.float64]


def measured(first: Sequence[float], second: Sequence[float]) -> float:
    """φ of one block size from an A/A history: events of two halves of the stable pods, block by block.

    `Σ (x−p̂m)² / (m·p̂(1−p̂)) / (blocks−1)` over blocks with events, at least 1; 1 when there is nothing to
    see.
    """
    x, y = np.asarray(first, float), np.asarray(second, float)
    m = x + y
    x, m = x[m > 0], m[m > 0]
    if len(m) < 2:
        return 1.0
    share = x.sum() / m.sum()
    if not 0 < share < 1:
        return 1.0
    pearson = ((x - share * m) ** 2 / (m * share * (1 - share))).sum()
    return float(max(1.0, pearson / (len(m) - 1)))


def rescaled(phi: float, mean_live: float, mean_history: float) -> float:
    """φ of the history carried over to live traffic; means are events per block of both arms."""
    return 1.0 + mean_live / mean_history * (phi - 1.0)


def assumed(events: FloatArray, elapsed: FloatArray) -> FloatArray:
    """φ without history, for every prefix: `1 + max(0, m̄−1)·τ`, m̄ = events of both arms per 5-minute block.

    `events` are cumulative, `elapsed` the seconds they took. A block that is not over counts with what it
    has: its events share one disturbance, however short it was.
    """
    blocks = np.maximum(1.0, elapsed / BLOCK_SECONDS)
    phi: FloatArray = 1.0 + np.maximum(0.0, events / blocks - 1.0) * ASSUMED_TAU
    return phi
