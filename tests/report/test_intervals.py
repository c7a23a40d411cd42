import math
from itertools import pairwise
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convc.report.intervals import accuracy_error, difference_error, holm, loss_error, paired

numbers = st.floats(-10, 10)


def test_three_seeds_take_the_t_quantile_of_two_degrees_of_freedom() -> None:
    """4.303, from any table of Student's t; the normal one, 1.960, would halve the interval."""
    middle, low, high, p = paired([1.0, 2.0, 3.0])
    reach = 4.303 / math.sqrt(3)
    assert (middle, low, high) == (2.0, pytest.approx(2 - reach, abs=1e-3), pytest.approx(2 + reach, abs=1e-3))
    assert p == pytest.approx(0.0742, abs=1e-4)


@given(st.lists(numbers, min_size=2, max_size=12).filter(lambda xs: stdev(xs) > 1e-3))
def test_the_interval_and_the_p_value_are_those_of_the_t_test(differences: list[float]) -> None:
    expected = stats.ttest_1samp(differences, 0)
    middle, low, high, p = paired(differences)
    assert middle == pytest.approx(mean(differences))
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_the_interval_covers_the_mean_in_95_percent_of_draws(count: int) -> None:
    """Of 4000 normal draws; to three binomial standard errors, 1 %. The normal quantile covers 81 %, 88 %, 91 %."""
    draws = np.random.default_rng(count).normal(1.0, 2.0, size=(4000, count))
    covered = [low <= 1.0 <= high for _, low, high, _ in (paired(draw.tolist()) for draw in draws)]
    assert abs(mean(covered) - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 4000)


def test_one_difference_has_no_interval() -> None:
    middle, *rest = paired([0.25])
    assert middle == 0.25
    assert all(map(math.isnan, rest))


def test_equal_differences_have_an_interval_of_no_width() -> None:
    assert paired([0.5, 0.5]) == (0.5, 0.5, 0.5, 0.0)
    assert paired([0.0, 0.0]) == (0.0, 0.0, 0.0, 1.0)


def test_holm_corrects_step_by_step() -> None:
    """Holm (1979): the smallest times the number of tests, the next times one fewer, and never less than before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    corrected = holm([math.nan, 0.02, 0.01])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.02, 0.02])


@given(st.lists(st.floats(0, 1), max_size=10))
def test_holm_keeps_the_order_and_only_raises(p: list[float]) -> None:
    corrected = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, corrected))
    ranked = sorted(zip(p, corrected))
    assert all(a[1] <= b[1] for a, b in pairwise(ranked))


def test_the_error_of_an_accuracy_is_binomial() -> None:
    assert accuracy_error(0.975, 500) == pytest.approx(0.00698, abs=1e-5)
    assert accuracy_error(1.0, 500) == 0


def test_the_error_of_a_loss_is_that_of_its_model() -> None:
    """Exponential losses of 3 nats at 4 % of the images, by simulation: 2000 draws, so to 5 %."""
    rng = np.random.default_rng(0)
    means = (rng.exponential(3.0, size=(2000, 500)) * (rng.random((2000, 500)) < 0.04)).mean(axis=1)
    assert loss_error(0.12, 0.96, 500) == pytest.approx(means.std(), rel=0.05)
    assert 0 < loss_error(0.001, 1.0, 500) < math.inf
    assert difference_error(0.03, 0.04) < 0.05
