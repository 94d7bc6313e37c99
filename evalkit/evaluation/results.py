"""From scored samples to the rows of scores.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from evalkit.evaluation.tally import Tally
from evalkit.records import Aggregate, Score
from evalkit.runs import ScoreRow
from evalkit.tasks.protocol import Group, Task


def scored_only(scores: Iterable[Score]) -> Iterator[Score]:
    """The scores that belong in a mean: infrastructure errors and failed scorers do not."""
    return (score for score in scores if score.status not in ("error", "unscored"))


def task_rows(
    task: Task, tally: Tally, scores: Iterable[Score], max_errors: float
) -> list[ScoreRow]:
    """The metrics of one task for one model.

    Args:
        task: The task as it was put.
        tally: What became of its samples.
        scores: Every sample's score, in the task's order.
        max_errors: The share of failed or unscored samples above which a result is invalid.
    """
    if tally.total == tally.failed + tally.statuses["unscored"]:
        return []
    shots = task.prompting.num_fewshot
    return [
        _row(
            aggregate,
            tally,
            style=task.prompting.style,
            num_fewshot=task.info.num_fewshot if shots is None else shots,
            version=task.info.version,
            max_errors=max_errors,
        )
        for aggregate in task.aggregate(scored_only(scores))
    ]


def _row(
    aggregate: Aggregate,
    tally: Tally,
    *,
    style: str,
    num_fewshot: int,
    version: str,
    max_errors: float,
) -> ScoreRow:
    lost = tally.failed + tally.statuses["unscored"]
    return ScoreRow(
        model=tally.model,
        task=tally.task,
        metric=aggregate.metric,
        filter=aggregate.filter,
        value=aggregate.value,
        stderr=aggregate.stderr,
        low=aggregate.low,
        high=aggregate.high,
        stderr_method=aggregate.method,
        higher_is_better=aggregate.higher_is_better,
        mode=tally.mode,
        style=style,
        num_fewshot=num_fewshot,
        version=version,
        n=aggregate.n,
        total=tally.total,
        failed=tally.failed,
        unscored=tally.statuses["unscored"],
        unparsed=tally.statuses["unparsed"],
        truncated=tally.statuses["truncated"],
        refused=tally.statuses["refused"],
        filtered=tally.statuses["filtered"],
        valid=lost <= max_errors * tally.total,
    )


def group_rows(
    group: Group, rows: Sequence[ScoreRow], aggregates: Sequence[Aggregate]
) -> list[ScoreRow]:
    """The rows of a group for one model.

    Args:
        group: The group.
        rows: Its members' rows for that model.
        aggregates: Its metrics over them.

    A group whose members were measured in different modes, styles or shots gets no row:
    such numbers are never averaged.
    """
    members = [row for row in rows if row.task in group.members]
    result = []
    for aggregate in aggregates:
        used = [r for r in members if r.metric == aggregate.metric and r.filter == aggregate.filter]
        if len({(r.mode, r.style) for r in used}) == 1 and len(used) > 0:
            result.append(_group_row(group, used, aggregate))
    return result


def _group_row(group: Group, used: Sequence[ScoreRow], aggregate: Aggregate) -> ScoreRow:
    shots = {row.num_fewshot for row in used}
    counts = ("total", "failed", "unscored", "unparsed", "truncated", "refused", "filtered")
    return msgspec.structs.replace(
        used[0],
        task=group.name,
        group=True,
        version=group.version,
        value=aggregate.value,
        stderr=aggregate.stderr,
        low=aggregate.low,
        high=aggregate.high,
        stderr_method=aggregate.method,
        num_fewshot=shots.pop() if len(shots) == 1 else None,
        n=aggregate.n,
        valid=all(r.valid for r in used) and {r.task for r in used} == set(group.members),
        **{name: sum(getattr(row, name) for row in used) for name in counts},
    )
