"""Writes a run down as it happens: samples, counts, scores, manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.evaluation.manifest import MANIFEST, task_entry
from evalkit.evaluation.plan import Plan, PlannedJob
from evalkit.evaluation.results import group_rows, task_rows
from evalkit.evaluation.tally import Tally
from evalkit.records import Request, Response, Sample, Score, Usage
from evalkit.runs import (
    SCORES,
    SampleWriter,
    ScoreRow,
    Scores,
    read_scores_of,
    samples_path,
    write_json,
)
from evalkit.tasks.lm_eval.aggregation import aggregate_group
from evalkit.tasks.protocol import Task

Key = tuple[str, str]


@dataclass(slots=True)
class Recorder:
    """The run folder while it is written; one (model, task) at a time is closed and scored."""

    folder: Path
    plan: Plan
    manifest: dict[str, Any]
    cost_of: Callable[[PlannedJob], Callable[[Usage], float | None]]
    writers: dict[Key, SampleWriter] = field(default_factory=dict)
    tallies: dict[Key, Tally] = field(default_factory=dict)
    rows: dict[Key, list[ScoreRow]] = field(default_factory=dict)
    #: Tasks whose samples are all scored, but whose metrics could not be computed, and why.
    unscored: dict[Key, str] = field(default_factory=dict)

    def add(
        self,
        job: PlannedJob,
        task: Task,
        sample: Sample,
        requests: Sequence[Request],
        responses: Sequence[Response],
        score: Score,
    ) -> None:
        """Write one finished sample."""
        key = _key(job)
        if key not in self.tallies:
            self._begin(job, task)
        self.writers[key].write(sample, requests, responses, score)
        self.tallies[key].add(requests, responses, score)

    def _begin(self, job: PlannedJob, task: Task) -> None:
        key = _key(job)
        self.writers[key] = SampleWriter(samples_path(self.folder, *key))
        self.tallies[key] = Tally(*key, task.mode, self.cost_of(job))

    def close(self, job: PlannedJob, task: Task) -> None:
        """Put a finished task's samples in order and compute its metrics."""
        key = _key(job)
        if key not in self.tallies:
            self._begin(job, task)
        path = self.writers.pop(key).finish()
        tally = self.tallies[key]
        try:
            self.rows[key] = task_rows(
                task, tally, read_scores_of(path), self.plan.config.max_errors
            )
        except Exception as error:
            # a task's own code: its failure must not take other tasks' results away
            self.rows[key] = []
            self.unscored[key] = f"its metrics could not be computed: {error!r}"
        self.manifest["tasks"][key[1]][key[0]] = task_entry(task)
        self.save()

    def save(self) -> None:
        """Write scores.json and manifest.json as they stand."""
        write_json(self.folder / SCORES, self.scores())
        write_json(self.folder / MANIFEST, self.manifest)

    def abandon(self) -> None:
        """Drop the samples files of unfinished tasks; the journal holds their answers."""
        for writer in self.writers.values():
            writer.abandon()
        self.writers.clear()

    def scores(self) -> Scores:
        """All rows so far: tasks in the order named, then the groups over them."""
        order = [_key(job) for job in self.plan.jobs]
        closed = [key for key in order if key in self.rows]
        tasks = [row for key in self._by_task(closed) for row in self.rows[key]]
        groups = [row for member in self.plan.members for row in self._groups(member.label)]
        cells = tuple(self.tallies[key].row() for key in self._by_task(closed))
        return Scores(scores=(*tasks, *groups), cells=cells)

    def _by_task(self, keys: Sequence[Key]) -> list[Key]:
        place = {one.ref.name: i for i, one in enumerate(self.plan.selected)}
        return sorted(keys, key=lambda key: place[key[1]])

    def _groups(self, label: str) -> list[ScoreRow]:
        rows = [row for (model, _), own in self.rows.items() if model == label for row in own]
        made: list[ScoreRow] = []
        for group in self.plan.groups:
            if all((label, name) in self.rows for name in group.members):
                made += group_rows(group, rows, aggregate_group(group, _aggregates(rows)))
        return made


def _key(job: PlannedJob) -> Key:
    return job.member.label, job.ref.name


def _aggregates(rows: Sequence[ScoreRow]) -> dict[str, list[Any]]:
    by_task: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_task[row.task].append(row.aggregate())
    return by_task
