"""lm-eval's bootstrap standard errors: the same draws from the same generator, without the wait.

lm-eval resamples 100,000 times in Python, in chunks of 1,000 draws seeded with the chunk's
number. NumPy's Mersenne Twister, set to the state of Python's, gives the same numbers in
the same order, so the same resamples are drawn here a block at a time and the statistic is
computed for a whole block. Results agree with lm-eval's to rounding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
#: From indices (replicates x n) into the items to one value a replicate.
Statistic = Callable[[Indices], Floats]

ITERATIONS = 100_000
#: lm-eval's cap for metrics that look at whole texts.
TEXT_ITERATIONS = 100
_CHUNK = 1_000
_BLOCK_CELLS = 4_000_000


class Spread(NamedTuple):
    """How a statistic varies over resamples: its standard deviation and middle 95%."""

    stderr: float
    low: float
    high: float


def bootstrap(statistic: Statistic, n: int, iterations: int) -> Spread:
    """The spread of `statistic` over resamples of n items."""
    replicates = np.concatenate([statistic(block) for block in _resamples(n, iterations)])
    low, high = np.quantile(replicates, [0.025, 0.975])
    return Spread(float(replicates.std(ddof=1)), float(low), float(high))


def _resamples(n: int, iterations: int) -> Iterator[Indices]:
    chunk = min(_CHUNK, iterations)
    rows = max(1, min(chunk, _BLOCK_CELLS // n))
    for number in range(iterations // chunk):
        generator = _numpy_twin(random.Random(number))  # noqa: S311 - reproduces lm-eval's draws
        for start in range(0, chunk, rows):
            count = min(rows, chunk - start)
            draws = generator.random_sample((count, n))
            yield np.floor(draws * n).astype(np.intp)


def _numpy_twin(source: random.Random) -> np.random.RandomState:
    words = source.getstate()[1]
    twin = np.random.RandomState()
    twin.set_state(("MT19937", np.array(words[:-1], dtype=np.uint32), words[-1], 0, 0.0))
    return twin


def statistic_for(function: Any, items: Sequence[Any]) -> Statistic | None:
    """The vectorised form of one of the statistics that lm-eval bootstraps; None for others."""
    from lm_eval.api import metrics

    if function is metrics.perplexity:
        return lambda at: np.exp(-_take(items, at).mean(axis=1))
    if function is metrics.median:
        middle = len(items) // 2
        return lambda at: np.partition(_take(items, at), middle, axis=1)[:, middle]
    if function is metrics.nanmean:
        return lambda at: np.nanmean(_take(items, at), axis=1)
    if function is metrics.f1_score:
        return _binary_f1(items)
    if function is metrics.matthews_corrcoef:
        return _matthews(items)
    if function in (metrics.bleu, metrics.chrf, metrics.chrfpp, metrics.ter):
        return lambda at: np.array([function([items[i] for i in row]) for row in at])
    return None


def _take(items: Sequence[Any], at: Indices) -> Floats:
    return np.asarray(items, dtype=np.float64)[at]


def _binary_f1(items: Sequence[Any]) -> Statistic:
    gold, predicted = (np.asarray(side) for side in zip(*items, strict=True))

    def statistic(at: Indices) -> Floats:
        right = ((gold == 1) & (predicted == 1))[at].sum(axis=1)
        total = (gold == 1)[at].sum(axis=1) + (predicted == 1)[at].sum(axis=1)
        return np.where(total > 0, 2 * right / np.maximum(total, 1), 0.0)

    return statistic


def _matthews(items: Sequence[Any]) -> Statistic:
    """Matthews' coefficient for any number of classes (Gorodkin 2004), 0 where undefined."""
    gold, predicted = (np.asarray(side) for side in zip(*items, strict=True))
    classes = np.unique(np.concatenate([gold, predicted]))

    def statistic(at: Indices) -> Floats:
        n = at.shape[1]
        right = (gold == predicted)[at].sum(axis=1)
        true = np.stack([(gold == c)[at].sum(axis=1) for c in classes]).astype(float)
        said = np.stack([(predicted == c)[at].sum(axis=1) for c in classes]).astype(float)
        covariance = right * n - (true * said).sum(axis=0)
        spread = (n * n - (said**2).sum(axis=0)) * (n * n - (true**2).sum(axis=0))
        return np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0)

    return statistic
