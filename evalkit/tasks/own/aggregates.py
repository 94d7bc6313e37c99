"""A task's numbers out of its samples' scores."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from evalkit.records import Aggregate, Score
from evalkit.stats.intervals import estimate_mean
from evalkit.tasks.own.definition import MetricUse


def aggregate(metrics: Sequence[MetricUse], scores: Iterable[Score]) -> list[Aggregate]:
    """The mean of every metric over the samples that were scored; one without any is left out."""
    values = {metric.name: array("d") for metric in metrics}
    for score in scores:
        if score.status not in ("error", "unscored"):
            for name, found in values.items():
                found.append(float(score.values[name]))
    return [_mean(metric, values[metric.name]) for metric in metrics if values[metric.name]]


def _mean(metric: MetricUse, values: Sequence[float]) -> Aggregate:
    estimate = estimate_mean(values)
    return Aggregate(
        metric=metric.name,
        value=estimate.value,
        n=estimate.n,
        stderr=estimate.stderr,
        low=estimate.low,
        high=estimate.high,
        method=estimate.method,
        higher_is_better=metric.higher_is_better,
    )
