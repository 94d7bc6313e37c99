"""Processes that score beside the requests: as many as there are cores, started when needed.

What happens to a sample:

- its scorer raises: it is `unscored`, as in this process;
- its process dies (a crash, too little memory): it is tried once more in another process, since
  the process may have died of something else, and is `unscored` if that one dies too;
- it takes longer than `limit_s`: its process is ended, and it is `unscored`.

A process that was lost is replaced when the next sample needs one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence

from evalkit.engine.jobs import Recipe
from evalkit.engine.score_process import LostError, ScoreProcess
from evalkit.engine.score_worker import Answered, Reply
from evalkit.engine.workers import Workers
from evalkit.records import Response, Sample, Score
from evalkit.tasks.protocol import Task

#: More hold their tasks in memory for little.
MOST_PROCESSES = 8


class ScorePool:
    """Scores samples in processes of their own.

    Args:
        limit_s: Seconds that one sample may take.
        processes: How many at most; None for one a core, `MOST_PROCESSES` at most.
    """

    def __init__(self, limit_s: float, processes: int | None = None) -> None:
        self._limit_s = limit_s
        self._most = processes or min(os.cpu_count() or 1, MOST_PROCESSES)
        #: Each thread waits for one process; made when first needed, inside the event loop.
        self._threads: Workers | None = None
        self._lock = threading.Lock()
        self._idle: list[ScoreProcess] = []
        self._all: set[ScoreProcess] = set()
        self._closed = False
        #: How many processes were started so far.
        self.started = 0

    def warm(self, task: Task, recipe: Recipe) -> None:
        """Begin to load `task` in one process, so that the first sample need not wait for it."""
        self._workers().run(self._score, task.fingerprint, recipe, (), False)

    def score(
        self, task: Task, recipe: Recipe, sample: Sample, answers: Sequence[Response]
    ) -> asyncio.Future[list[Score]]:
        """The score of one sample, in a list.

        Raises:
            LoadError: The task cannot be loaded in another process.
        """
        answered = ((sample, answers),)
        return self._workers().run(self._score, task.fingerprint, recipe, answered, False)

    def score_together(
        self, task: Task, recipe: Recipe, answered: Answered
    ) -> asyncio.Future[list[Score]]:
        """The scores of a whole task.

        Raises:
            LoadError: The task cannot be loaded in another process.
        """
        return self._workers().run(self._score, task.fingerprint, recipe, answered, True)

    def close(self) -> None:
        """End all processes; what they were scoring is lost."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            process.kill()
        if self._threads is not None:
            self._threads.close()
        for process in processes:
            process.close()

    def _workers(self) -> Workers:
        if self._threads is None:
            self._threads = Workers(self._most, "score-process")
        return self._threads

    def _score(
        self, fingerprint: str, recipe: Recipe, answered: Answered, together: bool
    ) -> list[Score]:
        try:
            reply = self._ask(fingerprint, recipe, answered, together)
        except LostError as error:
            if error.slow:
                return _unscored(answered, str(error))
            try:
                reply = self._ask(fingerprint, recipe, answered, together)
            except LostError as again:
                return _unscored(answered, str(again))
        return _unscored(answered, reply.failure) if reply.failure else reply.scores

    def _ask(self, fingerprint: str, recipe: Recipe, answered: Answered, together: bool) -> Reply:
        process = self._take(recipe)
        try:
            limit_s = self._limit_s * max(1, len(answered))
            reply = process.score(recipe, fingerprint, answered, together=together, limit_s=limit_s)
        except LostError:
            self._drop(process)
            raise
        except BaseException:
            self._give_back(process)
            raise
        self._give_back(process)
        return reply

    def _take(self, recipe: Recipe) -> ScoreProcess:
        """One that has the task, else the one that was last used, else a new one."""
        with self._lock:
            if self._closed:
                raise LostError("the run ended before it was scored", slow=True)
            if self._idle:
                knowing = [place for place, one in enumerate(self._idle) if one.knows(recipe)]
                return self._idle.pop(knowing[-1] if knowing else -1)
            process = ScoreProcess()
            self._all.add(process)
            self.started += 1
            return process

    def _give_back(self, process: ScoreProcess) -> None:
        with self._lock:
            self._idle.append(process)

    def _drop(self, process: ScoreProcess) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()


def _unscored(answered: Answered, note: str) -> list[Score]:
    return [Score(status="unscored", note=note)] * len(answered)
