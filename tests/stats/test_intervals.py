import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats import clustered_stderr, estimate_mean, mean_stderr, wilson

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50)


def test_wilson_gives_the_published_interval_for_81_of_263():
    # Newcombe, "Two-sided confidence intervals for the single proportion",
    # Statistics in Medicine 17 (1998), table I: 81/263 -> 0.2553 to 0.3662
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_gives_the_published_interval_for_none_of_20():
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)  # same table


def test_wilson_refuses_no_trials():
    with pytest.raises(ValueError, match="n must be positive"):
        wilson(0, 0)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_proportion_and_stays_within_zero_and_one(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1


@given(values)
def test_mean_stderr_is_the_sample_deviation_over_root_n(xs):
    assert mean_stderr(xs) == pytest.approx(np.std(xs, ddof=1) / math.sqrt(len(xs)))


@given(values)
def test_clusters_of_one_give_the_plain_standard_error(xs):
    names = [str(i) for i in range(len(xs))]
    assert clustered_stderr(xs, names) == pytest.approx(mean_stderr(xs), rel=1e-6, abs=1e-9)


def test_repeating_every_sample_does_not_shrink_the_clustered_error():
    xs = [0.0, 1.0, 1.0, 0.0, 1.0]
    names = ["a", "b", "c", "d", "e"]
    assert clustered_stderr(xs * 4, names * 4) == pytest.approx(clustered_stderr(xs, names))


def test_one_cluster_claims_no_error():
    assert clustered_stderr([0.0, 1.0], ["a", "a"]) is None


def test_one_value_claims_no_error():
    assert estimate_mean([0.3]).stderr is None


def test_binary_scores_take_the_wilson_interval():
    estimate = estimate_mean([1, 1, 1, 1])
    assert (estimate.method, estimate.high) == ("wilson", 1.0)
    assert estimate.low == pytest.approx(0.5101, abs=1e-4)


def test_other_scores_take_the_student_interval():
    estimate = estimate_mean([0.2, 0.4, 0.9])
    assert estimate.method == "student"
    assert estimate.high - estimate.value == pytest.approx(4.302653 * estimate.stderr, rel=1e-5)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        estimate_mean([])
