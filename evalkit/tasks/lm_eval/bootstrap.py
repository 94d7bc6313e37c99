"""Standard errors of corpus metrics: lm-eval's own hundred draws, from sums of sentences' counts.

lm-eval computes BLEU, chrF and TER anew over every resample of the texts. Each is a function of
counts that are summed over sentences, which sacrebleu extracts once; a resample is then another
sum. The draws are lm-eval's: NumPy's Mersenne Twister, set to the state of Python's, gives
the same numbers, so that results agree with lm-eval's to rounding.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.stats import Estimate
from evalkit.stats.spreads import estimate_from_draws

#: lm-eval's cap for metrics that look at whole texts.
TEXT_ITERATIONS = 100

Indices = npt.NDArray[np.intp]


def corpus_metric(function: Any) -> Any:
    """The metric of sacrebleu behind one of lm-eval's aggregations over texts; None for others."""
    import sacrebleu
    from lm_eval.api import metrics

    if function is metrics.bleu:
        return sacrebleu.BLEU()
    if function is metrics.chrf:
        return sacrebleu.CHRF()
    if function is metrics.chrfpp:
        return sacrebleu.CHRF(word_order=2)
    return sacrebleu.TER() if function is metrics.ter else None


def corpus_estimate(
    metric: Any, items: Sequence[Any], iterations: int = TEXT_ITERATIONS
) -> Estimate:
    """The metric of a corpus with the error that lm-eval gives it.

    Args:
        metric: From `corpus_metric`.
        items: n pairs of reference (or references) and prediction.
        iterations: Resamples; lm-eval draws 100.
    """
    counts = np.asarray(_counts(metric, items))
    value = _score(metric, counts.sum(axis=0))
    n = len(items)
    if n < 2:
        return Estimate(value=value, n=n, method="single value")
    draws = resamples(n, iterations)
    found = np.array([_score(metric, counts[at].sum(axis=0)) for at in draws])
    return estimate_from_draws(value, n, found, f"bootstrap ({iterations:,})")


def _counts(metric: Any, items: Sequence[Any]) -> Any:
    from lm_eval.api.metrics import _sacreformat

    references, predictions = zip(*items, strict=True)
    references, predictions = _sacreformat(references, predictions)
    return metric._extract_corpus_statistics(predictions, references)


def _score(metric: Any, totals: npt.NDArray[Any]) -> float:
    return float(metric._compute_score_from_stats(totals.tolist()).score)


def resamples(n: int, iterations: int) -> list[Indices]:
    """The draws of lm-eval's bootstrap for up to 1,000 iterations: n places of n items each."""
    generator = _numpy_twin(random.Random(0))  # noqa: S311 - reproduces lm-eval's draws
    return [np.floor(generator.random_sample(n) * n).astype(np.intp) for _ in range(iterations)]


def _numpy_twin(source: random.Random) -> np.random.RandomState:
    words = source.getstate()[1]
    twin = np.random.RandomState()
    twin.set_state(("MT19937", np.array(words[:-1], dtype=np.uint32), words[-1], 0, 0.0))
    return twin
