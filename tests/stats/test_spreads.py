"""Errors by formula, against the distributions that they are the limits of."""

import itertools
import math

import numpy as np
import pytest

from evalkit.stats.spreads import (
    exponential_of_mean,
    mean_of_present,
    ratio_of_sums,
    resampled_table,
    upper_median,
)


def all_resamples(values, statistic):
    """The standard deviation over every one of the n^n resamples."""
    drawn = itertools.product(values, repeat=len(values))
    found = [value for draw in drawn if not math.isnan(value := statistic(np.array(draw)))]
    return float(np.std(found))


SMALL = [0.3, -1.2, 2.0, 0.9, -0.1]


def test_a_perplexitys_error_is_that_of_all_resamples():
    expected = all_resamples(SMALL, lambda x: math.exp(-x.mean()))
    assert exponential_of_mean(SMALL).stderr == pytest.approx(expected, rel=1e-12)


def test_a_medians_error_is_that_of_all_resamples():
    expected = all_resamples(SMALL, lambda x: np.sort(x)[2])
    assert upper_median(SMALL).stderr == pytest.approx(expected, rel=1e-12)


def test_the_error_of_what_is_present_is_that_of_all_resamples():
    def mean(x):
        present = x[~np.isnan(x)]
        return present.mean() if present.size else math.nan

    values = [1.0, math.nan, 4.0, 2.0, math.nan]
    assert mean_of_present(values).stderr == pytest.approx(all_resamples(values, mean), rel=1e-12)


def test_many_values_are_no_harder():
    values = np.random.default_rng(1).normal(2, 1, 200_000)
    assert exponential_of_mean(values).stderr == pytest.approx(
        exponential_of_mean(values).value * values.std() / math.sqrt(values.size), rel=1e-3
    )
    normal = math.sqrt(math.pi / 2) * values.std() / math.sqrt(values.size)
    assert upper_median(values).stderr == pytest.approx(normal, rel=0.1)


@pytest.mark.parametrize("n", [2, 3, 6, 7, 50, 51])
def test_a_medians_interval_covers_it(n):
    """The true median lies between two order statistics with at least 95%, if n allows it."""
    found = upper_median(np.arange(n))
    outside = sum(math.comb(n, k) for k in range(int(found.low) + 1)) / 2**n
    assert outside <= 0.025 or found.low == 0
    assert found.low + found.high == n - 1


def test_a_medians_interval_is_no_wider_than_it_must_be():
    found = upper_median(np.arange(50))
    wider_by_one = sum(math.comb(50, k) for k in range(int(found.low) + 2)) / 2**50
    assert wider_by_one > 0.025


def test_a_ratio_of_equal_weights_is_a_mean():
    found = ratio_of_sums([(value, 2.0) for value in SMALL])
    assert found.value == pytest.approx(np.mean(SMALL) / 2)
    assert found.stderr == pytest.approx(np.std(SMALL, ddof=1) / math.sqrt(5) / 2)


def test_a_tables_draws_are_resamples():
    table = np.array([30, 10])
    found = resampled_table(table, lambda drawn: drawn[..., 0] / 40, 0.75)
    assert found.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 40), rel=0.01)


def test_a_tables_error_is_the_same_each_time():
    table = np.array([[5, 1], [2, 8]])
    one, other = (resampled_table(table, lambda t: t[..., 0, 0] / 16, 0.3) for _ in range(2))
    assert one == other


def test_a_table_of_many_cells_is_drawn_less_often():
    table = np.ones((40, 40), dtype=np.int64)
    assert "(2,500)" in resampled_table(table, lambda t: t[..., 0, 0].astype(float), 1.0).method


@pytest.mark.parametrize("given", [exponential_of_mean, upper_median, mean_of_present])
def test_one_value_has_no_error(given):
    assert given([1.5]).stderr is None


@pytest.mark.parametrize("values", [[-math.inf, -1.0], [-5000.0, 0.0]])
def test_what_no_number_can_hold_has_no_error(values):
    assert exponential_of_mean(values).stderr is None
