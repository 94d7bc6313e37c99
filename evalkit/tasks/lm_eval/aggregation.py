"""Aggregates of a task and of a group of tasks, by lm-eval's rules.

A task's value is lm-eval's, and its standard error what lm-eval's comes to with ever more
resamples (`evalkit.tasks.lm_eval.estimates`). A group's value is lm-eval's; its standard
error treats the members as independent: for weights w_i (n_i / N, or 1 / k) it is
sqrt(sum (w_i se_i)^2). lm-eval's `pooled_sample_stderr`, used where sizes weigh, is the error
of one sample pooled from populations of equal variance; it agrees only for equal sizes or
equal variances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from evalkit.errors import EvalkitError
from evalkit.records import Aggregate, Score
from evalkit.stats import Estimate, estimate_mean
from evalkit.stats.intervals import Z95
from evalkit.tasks.lm_eval.estimates import estimate
from evalkit.tasks.protocol import Group, GroupMetric


def aggregate_scores(task: Any, scores: Iterable[Score]) -> list[Aggregate]:
    """One aggregate a metric and filter, over the samples that have it, in their order."""
    columns: dict[str, list[Any]] = {}
    for score in scores:
        if score.status not in ("error", "unscored"):
            for key, value in score.values.items():
                columns.setdefault(key, []).append(value)
    return [_aggregate(task, key, values) for key, values in columns.items()]


def _aggregate(task: Any, key: str, values: list[Any]) -> Aggregate:
    from lm_eval.api.metrics import mean

    metric, _, name = key.partition(",")
    function = _function(task, metric)
    higher = task.higher_is_better().get(metric)
    if function is mean:
        return mean_aggregate(metric, name, values, higher)
    return _as_aggregate(metric, name, _estimate(metric, function, values), higher)


def _estimate(metric: str, function: Any, values: list[Any]) -> Estimate:
    """The value with the error that can be given for it: none for a task's own statistic."""
    method = getattr(function, "__name__", "custom aggregation")
    found: Estimate | None = _apply(partial(estimate, function), values, metric)
    if found is not None:
        method = f"{method}, {found.method}"
        return msgspec.structs.replace(found, method=method)
    value = _number(_apply(function, values, metric), metric)
    return Estimate(value=value, n=len(values), method=method)


def _as_aggregate(metric: str, name: str, found: Estimate, higher: bool | None) -> Aggregate:
    return Aggregate(
        metric=metric,
        filter=name,
        value=found.value,
        n=found.n,
        stderr=found.stderr,
        low=found.low,
        high=found.high,
        method=found.method,
        higher_is_better=higher,
    )


def _function(task: Any, metric: str) -> Any:
    """The metric's aggregation; the mean where the task names none, as in lm-eval."""
    from lm_eval.api.metrics import mean

    return task.aggregation().get(metric, mean)


def mean_aggregate(
    metric: str, name: str, values: Sequence[Any], higher: bool | None = True
) -> Aggregate:
    """The mean of `values` with its standard error and 95% interval."""
    found = estimate_mean([_number(value, metric) for value in values])
    return _as_aggregate(metric, name, found, higher)


def _apply(function: Any, values: list[Any], metric: str) -> Any:
    try:
        return function(values)
    except Exception as error:  # a task's own code, or a metric that the hub would have to give
        message = f"Metric {metric!r} cannot be computed: {type(error).__name__}: {error}"
        raise EvalkitError(message) from error


def _number(value: Any, metric: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise EvalkitError(f"Metric {metric!r} is not a number: {value!r:.80}") from None


def aggregate_group(group: Group, by_task: Mapping[str, Sequence[Aggregate]]) -> list[Aggregate]:
    """A group's metrics from its members' aggregates; empty where the group defines none.

    Members that are missing, or that lack the metric, are left out, and `method` says of how
    many tasks the mean is.
    """
    members = {name: by_task[name] for name in group.members if name in by_task}
    return [
        aggregate
        for wanted in group.metrics
        for name in _filters(wanted, members)
        if (aggregate := _group_mean(group, wanted, name, members)) is not None
    ]


def _filters(wanted: GroupMetric, members: Mapping[str, Sequence[Aggregate]]) -> list[str]:
    if wanted.filters:
        return ["" if name == "none" else name for name in wanted.filters]
    return sorted(
        {a.filter for each in members.values() for a in each if a.metric == wanted.metric}
    )


def _group_mean(
    group: Group, wanted: GroupMetric, name: str, members: Mapping[str, Sequence[Aggregate]]
) -> Aggregate | None:
    found = [
        a
        for each in members.values()
        for a in each
        if (a.metric, a.filter) == (wanted.metric, name)
    ]
    if not found:
        return None
    total = sum(a.n for a in found)
    weights = [a.n / total if wanted.weight_by_size else 1 / len(found) for a in found]
    value = sum(w * a.value for w, a in zip(weights, found, strict=True))
    stderr = _combined_stderr(weights, found)
    low, high = (None, None) if stderr is None else (value - Z95 * stderr, value + Z95 * stderr)
    kind = "size-weighted" if wanted.weight_by_size else "unweighted"
    directions = {a.higher_is_better for a in found}
    return Aggregate(
        metric=wanted.metric,
        filter=name,
        value=value,
        n=total,
        stderr=stderr,
        low=low,
        high=high,
        method=f"{kind} mean of {len(found)} of {len(group.members)} tasks",
        higher_is_better=directions.pop() if len(directions) == 1 else None,
    )


def _combined_stderr(weights: Sequence[float], found: Sequence[Aggregate]) -> float | None:
    errors = [a.stderr for a in found]
    squares = [(w * e) ** 2 for w, e in zip(weights, errors, strict=True) if e is not None]
    return math.sqrt(sum(squares)) if len(squares) == len(errors) else None
