"""lm-eval's aggregations other than the mean, with standard errors and intervals.

Values are lm-eval's. Standard errors are what its bootstrap estimates, by formula where there is
one (`evalkit.stats.spreads`); weighted perplexities, bits per byte and the Brier score, for which
lm-eval gives none, have theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from evalkit.stats import Estimate, estimate_mean
from evalkit.stats.intervals import Z95, Floats
from evalkit.stats.spreads import (
    Counts,
    exponential_of_mean,
    mean_of_present,
    ratio_of_sums,
    resampled_table,
    upper_median,
)
from evalkit.tasks.lm_eval.bootstrap import corpus_estimate, corpus_metric


def estimate(function: Any, values: Sequence[Any]) -> Estimate | None:
    """The value of one of lm-eval's aggregations with its error; None for a task's own."""
    from lm_eval.api import metrics

    known: dict[Any, Callable[[Sequence[Any]], Estimate]] = {
        metrics.perplexity: exponential_of_mean,
        metrics.median: upper_median,
        metrics.nanmean: lambda items: mean_of_present(_floats(items)),
        metrics.f1_score: binary_f1,
        metrics.matthews_corrcoef: matthews,
        metrics.weighted_perplexity: weighted_perplexity,
        metrics.bits_per_byte: bits_per_byte,
        metrics.brier_score: brier_score,
        metrics.acc_all: all_right,
    }
    if function in known:
        return known[function](values)
    metric = corpus_metric(function)
    return None if metric is None else corpus_estimate(metric, values)


def _floats(items: Sequence[Any]) -> Floats:
    """Numbers, with NaN for what a samples file holds in its place."""
    return np.array([math.nan if item is None else item for item in items], dtype=np.float64)


def binary_f1(items: Sequence[Any]) -> Estimate:
    """The F1 of the class 1 over pairs of truth and prediction; 0 where neither has it.

    Raises:
        ValueError: There are other classes than 0 and 1, for which lm-eval has no F1 either.
    """
    pairs = np.asarray(items)
    if not np.isin(pairs, (0, 1)).all():
        raise ValueError(f"F1 is for the classes 0 and 1, not {np.unique(pairs).tolist()}")
    gold, said = (pairs == 1).T
    table = np.array([(gold & said).sum(), (gold ^ said).sum(), (~gold & ~said).sum()])

    def statistic(tables: Counts) -> Floats:
        right, wrong = 2.0 * tables[..., 0], tables[..., 1]
        found = np.zeros(right.shape)
        np.divide(right, right + wrong, out=found, where=right + wrong > 0)
        return found

    return resampled_table(table, statistic, float(statistic(table)))


def matthews(items: Sequence[Any]) -> Estimate:
    """Matthews' coefficient for any number of classes (Gorodkin 2004), 0 where undefined."""
    pairs = np.asarray(items)
    classes, codes = np.unique(pairs, return_inverse=True)
    size = classes.size
    gold, said = codes.reshape(pairs.shape).T
    table = np.bincount(gold * size + said, minlength=size * size).reshape(size, size)

    def statistic(tables: Counts) -> Floats:
        true, claimed = tables.sum(axis=-1).astype(float), tables.sum(axis=-2).astype(float)
        n = true.sum(axis=-1)
        right = np.trace(tables, axis1=-2, axis2=-1)
        covariance = right * n - (true * claimed).sum(axis=-1)
        spread = (n * n - (claimed**2).sum(axis=-1)) * (n * n - (true**2).sum(axis=-1))
        found: Floats = np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0)
        return found

    return resampled_table(table, statistic, float(statistic(table)))


def weighted_perplexity(items: Sequence[Any]) -> Estimate:
    """exp(-sum of log-likelihoods / sum of weights), the ratio's interval exponentiated."""
    ratio = ratio_of_sums(items)
    value = math.exp(-ratio.value)
    if ratio.stderr is None or ratio.low is None or ratio.high is None:
        return msgspec.structs.replace(ratio, value=value)
    return msgspec.structs.replace(
        ratio,
        value=value,
        stderr=value * ratio.stderr,
        low=math.exp(-ratio.high),
        high=math.exp(-ratio.low),
        method="ratio of sums, exponentiated student",
    )


def bits_per_byte(items: Sequence[Any]) -> Estimate:
    """-sum of log-likelihoods / sum of bytes, in bits."""
    bits = [(-logprob / math.log(2), size) for logprob, size in items]
    return ratio_of_sums(bits)


def brier_score(items: Sequence[Any]) -> Estimate:
    """The mean squared distance of probabilities from the truth."""
    gold, predictions = zip(*items, strict=True)
    distances = np.array(predictions, dtype=np.float64)
    distances[np.arange(len(gold)), list(gold)] -= 1
    return estimate_mean((distances**2).sum(axis=1))


def all_right(items: Sequence[Any]) -> Estimate:
    """The share of questions whose every answer is judged rightly, with lm-eval's error."""
    from lm_eval.api.metrics import acc_all, acc_all_stderr

    value, n = float(acc_all(items)), len(items)
    if n < 2:
        return Estimate(value=value, n=n, method="acc_all")
    stderr = float(acc_all_stderr(items))
    low, high = value - Z95 * stderr, value + Z95 * stderr
    return Estimate(value=value, n=n, stderr=stderr, low=low, high=high, method="acc_all")
