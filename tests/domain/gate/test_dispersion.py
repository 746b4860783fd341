"""φ: how much more the counts scatter than independent events would."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.domain.gate.dispersion import assumed, measured, rescaled


def test_the_dispersion_of_a_history_is_that_of_the_worked_example():
    assert measured([30, 5, 14, 26, 2, 17], [10, 12, 21, 9, 20, 8]) == pytest.approx(7.9274, abs=5e-5)


def test_the_dispersion_is_at_least_one_and_one_where_nothing_is_to_be_seen():
    assert measured([10, 10, 10], [10, 10, 10]) == 1.0
    assert measured([], []) == 1.0
    assert measured([5], [3]) == 1.0
    assert measured([5, 0], [0, 0]) == 1.0
    assert measured([0, 0, 0], [4, 5, 6]) == 1.0


def test_the_dispersion_of_a_busy_history_shrinks_with_less_live_traffic():
    assert rescaled(2.6, mean_live=20, mean_history=80) == pytest.approx(1.4)


@pytest.mark.parametrize(("mean", "expected"), [(0, 1.0), (1, 1.0), (6, 1.10), (60, 2.18), (600, 12.98)])
def test_without_history_the_dispersion_is_assumed_from_the_traffic(mean, expected):
    assert assumed(np.array([mean * 2.0]), np.array([600.0]))[0] == pytest.approx(expected)


def test_a_block_that_is_not_over_counts_with_what_it_has():
    assert assumed(np.array([60.0]), np.array([60.0]))[0] == pytest.approx(2.18)
