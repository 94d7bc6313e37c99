"""Sets evalkit's requests, scores and aggregates beside lm-eval's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.parity_reference import Reference, Row
from evalkit.records import Aggregate, Record, Request, Response, Score
from evalkit.tasks.protocol import Group

#: What two computations of one log-likelihood in float32 may differ by, relatively.
TOLERANCE = 1e-3
_ROUNDING = 1e-9
#: Metrics whose error lm-eval draws 100,000 times, and by how much chance alone moves it: its
#: standard deviation is 1 / sqrt(2 x 100,000) = 0.22%. evalkit has what such draws tend to.
_RESAMPLED = frozenset({"perplexity", "median", "f1", "mcc", "bleu", "chrf", "ter"})
_CHANCE = 0.01


class Metric(Record, frozen=True, kw_only=True):
    """An aggregate of both: value and standard error (None where none is claimed)."""

    name: str
    theirs: float
    ours: float
    their_stderr: float | None
    our_stderr: float | None
    pooled: bool = False

    @property
    def same_value(self) -> bool:
        return math.isclose(self.theirs, self.ours, rel_tol=TOLERANCE, abs_tol=_ROUNDING)

    @property
    def same_stderr(self) -> bool:
        if self.their_stderr is None:
            return True  # evalkit claims an error for more metrics
        if self.our_stderr is None:
            return False
        allowed = _CHANCE if self.name.partition(",")[0] in _RESAMPLED else TOLERANCE
        return math.isclose(self.their_stderr, self.our_stderr, rel_tol=allowed, abs_tol=_ROUNDING)


class Outcome(Record, frozen=True, kw_only=True):
    """One task or group of a case compared."""

    case: str
    name: str
    samples: int = 0
    requests: int = 0
    same_prompts: int = 0
    same_texts: int = 0
    texts: int = 0
    largest_difference: float = 0.0
    values: int = 0
    same_values: int = 0
    metrics: tuple[Metric, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return (
            self.same_prompts == self.requests
            and self.same_values == self.values
            and self.largest_difference <= TOLERANCE
            and all(m.same_value and (m.same_stderr or m.pooled) for m in self.metrics)
        )


Asked = tuple[Sequence[Request], Sequence[str], Sequence[Response], Score]


def compare_task(
    case: str,
    name: str,
    asked: Mapping[int, Asked],
    aggregates: Sequence[Aggregate],
    reference: Reference,
) -> Outcome:
    """A task: `asked` holds each document's requests, rendered prompts, responses and score."""
    rows = reference.rows[name]
    if set(rows) != set(asked):
        raise ValueError(f"{case}: {name}: {len(rows)} documents of theirs, {len(asked)} of ours")
    prompts = [_same_prompts(rows[i], one) for i, one in asked.items()]
    texts = [pair for i, one in asked.items() for pair in _texts(rows[i], one)]
    values = [pair for i, one in asked.items() for pair in _values(i, rows[i], one[3])]
    return Outcome(
        case=case,
        name=name,
        samples=len(asked),
        requests=sum(len(p) for p in prompts),
        same_prompts=sum(sum(p) for p in prompts),
        texts=len(texts),
        same_texts=sum(theirs == ours for theirs, ours in texts),
        largest_difference=max((_difference(rows[i], one) for i, one in asked.items()), default=0),
        values=len(values),
        same_values=sum(same for _, same in values),
        metrics=compare_aggregates(reference.results[name], aggregates),
        differences=tuple(text for text, same in values if not same)[:5],
    )


def compare_group(
    case: str, group: Group, aggregates: Sequence[Aggregate], reference: Reference
) -> Outcome:
    """A group: its aggregates. Theirs weighs by size with the pooled formula, ours does not."""
    weighted = {metric.metric for metric in group.metrics if metric.weight_by_size}
    return Outcome(
        case=case,
        name=group.name,
        samples=max((a.n for a in aggregates), default=0),
        metrics=compare_aggregates(reference.results[group.name], aggregates, weighted),
    )


def compare_aggregates(
    results: Mapping[str, Any], aggregates: Sequence[Aggregate], pooled: set[str] = frozenset()
) -> tuple[Metric, ...]:
    ours = {f"{a.metric},{a.filter or 'none'}": a for a in aggregates}
    theirs = {
        key: value
        for key, value in results.items()
        if "," in key and "_stderr," not in key and isinstance(value, int | float)
    }
    if set(ours) != set(theirs):
        raise ValueError(f"metrics differ: {sorted(theirs)} of theirs, {sorted(ours)} of ours")
    return tuple(
        Metric(
            name=key,
            theirs=value,
            ours=ours[key].value,
            their_stderr=_stderr(results, key),
            our_stderr=ours[key].stderr,
            pooled=key.partition(",")[0] in pooled,
        )
        for key, value in theirs.items()
    )


def _stderr(results: Mapping[str, Any], key: str) -> float | None:
    metric, _, name = key.partition(",")
    value = results.get(f"{metric}_stderr,{name}")
    return value if isinstance(value, int | float) else None


def _same_prompts(row: Row, asked: Asked) -> list[bool]:
    requests, prompts = asked[0], asked[1]
    if len(row.arguments) != len(requests):
        return [False] * max(len(requests), len(row.arguments))
    return [
        prompt == given[0] and (request.kind != "loglikelihood" or request.continuation == given[1])
        for request, prompt, given in zip(requests, prompts, row.arguments, strict=True)
    ]


def _texts(row: Row, asked: Asked) -> list[tuple[str, str]]:
    pairs = zip(asked[0], asked[2], row.responses, strict=True)
    return [(r[0], response.text) for q, response, r in pairs if q.kind == "generate"]


def logprob(response: Any) -> float:
    """The log-likelihood in a logged response (lm-eval writes pairs as they are, or as text)."""
    first = response[0] if isinstance(response, list) else response
    return float(first[0] if isinstance(first, list) else first)


def _difference(row: Row, asked: Asked) -> float:
    pairs = zip(asked[0], asked[2], row.responses, strict=True)
    found = [
        abs(response.logprob - logprob(r)) / max(abs(logprob(r)), 1e-6)
        for q, response, r in pairs
        if q.kind != "generate" and response.logprob is not None
    ]
    return max(found, default=0.0)


def _values(index: int, row: Row, score: Score) -> list[tuple[str, bool]]:
    keys = [*row.values, *(key for key in score.values if key not in row.values)]
    return [
        (
            f"document {index}: {key}: {row.values.get(key)!r:.80} / {score.values.get(key)!r:.80}",
            _close(row.values.get(key), score.values.get(key)),
        )
        for key in keys
    ]


def _close(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        return len(theirs) == len(ours) and all(map(_close, theirs, ours))
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return math.isclose(theirs, ours, rel_tol=TOLERANCE, abs_tol=_ROUNDING)
    return bool(theirs == ours)
