"""The draws of lm-eval's bootstrap, and its standard errors."""

import contextlib
import io
import random

import numpy as np
import pytest

from evalkit.tasks.lm_eval.bootstrap import bootstrap, statistic_for

rng = random.Random(7)
NUMBERS = [-rng.random() * 4 for _ in range(30)]
LABELS = [(rng.randrange(2), rng.randrange(2)) for _ in range(30)]
CLASSES = [(rng.randrange(3), rng.randrange(3)) for _ in range(30)]
TEXTS = [("the cat sat on the mat", f"the cat sat on mat {i}") for i in range(8)]


def theirs(function, items, iterations):
    from lm_eval.api.metrics import bootstrap_stderr

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return bootstrap_stderr(function, items, iterations)


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("perplexity", NUMBERS),
        ("median", NUMBERS),
        ("nanmean", NUMBERS),
        ("f1_score", LABELS),
        ("matthews_corrcoef", LABELS),
        ("matthews_corrcoef", CLASSES),
    ],
)
def test_the_standard_error_is_lm_evals(name, items):
    from lm_eval.api import metrics

    function = getattr(metrics, name)
    ours = bootstrap(statistic_for(function, items), len(items), 200)
    assert ours.stderr == pytest.approx(theirs(function, items, 200), rel=1e-9)


def test_a_metric_of_whole_texts_is_computed_by_lm_eval_itself():
    from lm_eval.api import metrics

    ours = bootstrap(statistic_for(metrics.chrf, TEXTS), len(TEXTS), 20)
    assert ours.stderr == pytest.approx(theirs(metrics.chrf, TEXTS, 20))


def test_more_than_one_chunk_goes_on_with_the_next_seed():
    from lm_eval.api import metrics

    ours = bootstrap(statistic_for(metrics.median, NUMBERS), len(NUMBERS), 2000)
    assert ours.stderr == pytest.approx(theirs(metrics.median, NUMBERS, 2000))


def test_the_interval_holds_the_middle_of_the_replicates():
    spread = bootstrap(lambda at: at[:, 0].astype(float), 1000, 1000)
    assert spread.low < 500 < spread.high


def test_a_statistic_that_lm_eval_does_not_bootstrap_has_no_error():
    assert statistic_for(np.mean, NUMBERS) is None
