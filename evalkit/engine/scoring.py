"""Where samples are scored, so that no request waits for it.

In the build thread, where scoring takes next to nothing; in threads of their own, where it waits
for programs that it started (`heavy_scoring`); in other processes, where it needs the main thread
of one (`main_thread`), or turns out to compute for long: a thread that computes holds up all
others of its process, the one that sends requests among them. The score is the same everywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from evalkit.engine.jobs import JobRun, score_sample, score_together
from evalkit.engine.score_pool import ScorePool
from evalkit.engine.score_process import LoadError
from evalkit.engine.score_worker import Answered
from evalkit.engine.window import prompt_characters
from evalkit.engine.workers import Workers
from evalkit.records import Request, Response, Sample, Score
from evalkit.tasks.protocol import Task

#: Samples over which the cost of scoring is judged; the first of a task, which imports what it
#: needs, is not counted.
WINDOW = 16
#: CPU seconds a sample above which scoring moves to other processes, if what is left of it
#: takes longer than loading the task there.
HEAVY_S, WORTH_S = 0.002, 2.0
#: Characters of prompts and answers that may wait to be scored without holding up requests.
BACKLOG = 64_000_000
#: What a sample holds beside its texts, in the same measure.
_SAMPLE_OVERHEAD = 4_000


class Backlog:
    """What was answered and waits to be scored: while it is short, more may be asked."""

    def __init__(self, most: int = BACKLOG) -> None:
        self._most = most
        self._waiting = 0

    def take(self, size: int) -> bool:
        """Whether there is room for a sample of this size, which then counts."""
        if self._waiting + size > self._most:
            return False
        self._waiting += size
        return True

    def give_back(self, size: int) -> None:
        """A sample that counted was scored."""
        self._waiting -= size


def size_of(requests: Sequence[Request], answers: Sequence[Response]) -> int:
    """About how many characters a sample that waits holds in memory."""
    answered = sum(len(answer.text) + len(answer.reasoning) for answer in answers)
    return _SAMPLE_OVERHEAD + prompt_characters(requests) + answered


@dataclass(slots=True)
class Meter:
    """What scoring one task's samples takes of this process."""

    clock: Callable[[], float] = time.thread_time
    scored: int = 0
    spent_s: float = 0.0
    mean_s: float = 0.0

    def measure(self, task: Task, sample: Sample, answers: Sequence[Response]) -> Score:
        """The score of a sample, its CPU time counted."""
        started = self.clock()
        score = score_sample(task, sample, answers)
        if self.scored:
            self.spent_s += self.clock() - started
        self.scored += 1
        if self.scored > 1 and (self.scored - 1) % WINDOW == 0:
            self.mean_s, self.spent_s = self.spent_s / WINDOW, 0.0
        return score

    def is_heavy(self, left: int) -> bool:
        """Whether the `left` samples to come should be scored elsewhere."""
        return self.mean_s > HEAVY_S and self.mean_s * left > WORTH_S


#: In the build thread, in threads of their own, in other processes, or nowhere: see above.
Place = Literal["build", "threads", "processes", "nowhere"]


class Scoring:
    """Where the samples of all jobs are scored.

    Args:
        build: The build thread.
        limit_s: Seconds that a sample may take in another process.
        note: Is told what the user should know.
    """

    def __init__(self, build: Workers, limit_s: float, note: Callable[[str], None]) -> None:
        self._build, self._note = build, note
        self._threads = Workers(os.cpu_count() or 1, "score")
        self._pool = ScorePool(limit_s)
        self._places: dict[JobRun, Place] = {}
        self._meters: dict[JobRun, Meter] = {}
        self._why_not: dict[JobRun, str] = {}
        self.backlog = Backlog()

    def begin(self, run: JobRun, task: Task) -> None:
        """Get ready for the samples of `task`."""
        self._meters[run] = Meter()
        if task.info.main_thread and run.job.recipe is not None:
            self._places[run] = "processes"
            self._pool.warm(task, run.job.recipe)
        else:
            self._places[run] = "threads" if task.info.heavy_scoring else "build"

    def now(
        self, run: JobRun, task: Task, sample: Sample, answers: Sequence[Response]
    ) -> Score | None:
        """The score, called in the build thread; None if that is not where it is to be had."""
        if task.scores_together or self._places[run] != "build":
            return None
        meter = self._meters[run]
        left = (run.size or 0) - meter.scored
        if run.job.recipe is not None and run not in self._why_not and meter.is_heavy(left):
            self._places[run] = "processes"
            return None
        return meter.measure(task, sample, answers)

    async def score(
        self, run: JobRun, task: Task, sample: Sample, answers: Sequence[Response]
    ) -> Score:
        """The score of one sample for which `now` gave none."""
        if self._places[run] == "processes" and run.job.recipe is not None:
            try:
                return (await self._pool.score(task, run.job.recipe, sample, answers))[0]
            except LoadError as error:
                self._come_back(run, task, error)
        if self._places[run] == "nowhere":
            return self._unscored(run)
        return await self._here(run).run(score_sample, task, sample, answers)

    async def score_together(self, run: JobRun, task: Task, answered: Answered) -> list[Score]:
        """The scores of a whole task."""
        if self._places[run] == "processes" and run.job.recipe is not None:
            try:
                return await self._pool.score_together(task, run.job.recipe, answered)
            except LoadError as error:
                self._come_back(run, task, error)
        if self._places[run] == "nowhere":
            return [self._unscored(run)] * len(answered)
        return await self._here(run).run(score_together, task, answered)

    def close(self) -> None:
        """Let all threads and processes end."""
        self._threads.close()
        self._pool.close()

    def _here(self, run: JobRun) -> Workers:
        return self._threads if self._places[run] == "threads" else self._build

    def _come_back(self, run: JobRun, task: Task, error: LoadError) -> None:
        """Score in this process after all, or nowhere if the scores would be wrong."""
        if self._places[run] != "processes":
            return
        self._places[run] = "nowhere" if task.info.main_thread else "build"
        self._why_not[run] = f"it could not be loaded in a process of its own: {error}"
        self._note(f"{run.job.name}: scoring: {self._why_not[run]}")

    def _unscored(self, run: JobRun) -> Score:
        return Score(status="unscored", note=self._why_not[run])
