"""Aggregations other than the mean: lm-eval's values, and what its bootstrap estimates."""

import contextlib
import io
import math
import random

import numpy as np
import pytest

from evalkit.tasks.lm_eval.bootstrap import corpus_estimate, corpus_metric
from evalkit.tasks.lm_eval.estimates import estimate

rng = random.Random(7)
WORDS = ["the", "a", "cat", "sat", "on", "mat", "dog", "ran", "far", "away", "over", "hill"]


def numbers(n):
    return [-rng.random() * 4 - rng.random() ** 3 * 6 for _ in range(n)]


def with_gaps(n):
    return [math.nan if rng.random() < 0.2 else rng.gauss(3, 2) for _ in range(n)]


def labels(n):
    return [(rng.randrange(2), int(rng.random() < 0.4)) for _ in range(n)]


def classes(n):
    return [((c := rng.randrange(3)), c if rng.random() < 0.6 else 2) for _ in range(n)]


def texts(n):
    return [
        [" ".join(rng.choices(WORDS, k=9)), " ".join(rng.choices(WORDS, k=8))] for _ in range(n)
    ]


def weighted(n):
    return [(-rng.random() * 100, rng.randrange(10, 80)) for _ in range(n)]


def chances(n):
    drawn = np.random.default_rng(3).dirichlet([1, 1, 1], n)
    return [(rng.randrange(3), row) for row in drawn.tolist()]


KINDS = [
    ("perplexity", numbers),
    ("median", numbers),
    ("nanmean", with_gaps),
    ("f1_score", labels),
    ("matthews_corrcoef", labels),
    ("matthews_corrcoef", classes),
]
TEXT_METRICS = ("bleu", "chrf", "chrfpp", "ter")


def theirs(function, items, iterations):
    from lm_eval.api.metrics import bootstrap_stderr

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return bootstrap_stderr(function, items, iterations)


def named(name):
    from lm_eval.api import metrics

    return getattr(metrics, name)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        *KINDS,
        *[(name, texts) for name in TEXT_METRICS],
        ("weighted_perplexity", weighted),
        ("bits_per_byte", weighted),
        ("brier_score", chances),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 31])
@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn of one class
def test_the_value_is_lm_evals(name, made, n):
    items = made(n)
    found = estimate(named(name), items)
    assert (found.value, found.n) == (pytest.approx(float(named(name)(items)), rel=1e-12), n)


@pytest.mark.parametrize(("name", "made"), KINDS)
def test_the_error_is_what_lm_evals_bootstrap_estimates(name, made):
    items = made(40)
    # 1,000 rounds leave an error of 2.2% to their estimate
    assert estimate(named(name), items).stderr == pytest.approx(
        theirs(named(name), items, 1000), rel=0.09
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "made"), KINDS)
@pytest.mark.parametrize("n", [30, 300, 2000])
def test_the_error_is_that_of_many_rounds(name, made, n):
    items = made(n)
    rounds = 5_000 if made in (labels, classes) else 20_000  # theirs takes 2 ms a round
    expected = pytest.approx(theirs(named(name), items, rounds), rel=4 / math.sqrt(2 * rounds))
    assert estimate(named(name), items).stderr == expected


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_a_corpus_metric_has_lm_evals_very_draws(name):
    items = texts(12)
    ours = corpus_estimate(corpus_metric(named(name)), items, 20)
    assert ours.stderr == pytest.approx(theirs(named(name), items, 20), rel=1e-9)


def test_several_references_are_one_each_sentence():
    items = [[[a, b], [c]] for (a, c), (b, _) in zip(texts(9), texts(9), strict=True)]
    ours = corpus_estimate(corpus_metric(named("bleu")), items, 20)
    assert ours.value == pytest.approx(named("bleu")(items), rel=1e-12)
    assert ours.stderr == pytest.approx(theirs(named("bleu"), items, 20), rel=1e-9)


def test_a_missing_number_in_a_samples_file_is_not_a_number():
    assert estimate(named("nanmean"), [1.0, None, 3.0]).value == 2.0


def test_f1_is_for_two_classes():
    with pytest.raises(ValueError, match=r"\[0, 1, 2\]"):
        estimate(named("f1_score"), [(0, 1), (2, 1)])


@pytest.mark.parametrize("name", ["weighted_perplexity", "bits_per_byte"])
def test_a_ratio_has_an_error_too(name):
    """lm-eval gives none: what it would be is seen in resamples."""
    items, function = weighted(200), named(name)
    draw = random.Random(1)
    found = np.std([function(draw.choices(items, k=200)) for _ in range(2000)], ddof=1)
    assert estimate(function, items).stderr == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize(("name", "made"), [*KINDS, ("weighted_perplexity", weighted)])
def test_the_interval_holds_the_value(name, made):
    found = estimate(named(name), made(50))
    assert found.low < found.value < found.high


def test_a_statistic_of_a_tasks_own_has_no_error():
    assert estimate(np.mean, numbers(5)) is None
