"""The samples of one model: built in their thread, asked, scored, one task behind the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence

from evalkit.engine.asking import Asker
from evalkit.engine.failures import describe
from evalkit.engine.jobs import (
    Built,
    Finished,
    Job,
    JobRun,
    build_chunk,
    error_score,
)
from evalkit.engine.progress import Observer
from evalkit.engine.scoring import Scoring, size_of
from evalkit.engine.window import Place, Window, prompt_characters
from evalkit.engine.workers import Workers
from evalkit.errors import InputError, StoppedError
from evalkit.records import Request, Response, Sample, Score
from evalkit.tasks.protocol import Task

#: Samples built at a time, and the seconds after which fewer will do: models must not idle.
CHUNK = 32
CHUNK_S = 0.02

#: Name of the tasks that carry a sample: what is waited for when a run winds down.
SAMPLE = "sample"


class Flow:
    """All jobs of one model.

    Args:
        runs: The jobs, in order.
        asker: The way to the model.
        build: The build thread, which alone touches tasks that are not thread-safe.
        scoring: Where samples are scored.
        spawn: Starts a named task that the run looks after.
        observer: Is told of jobs that cannot be run.
        on_finished: Is given each sample as it ends.
        on_job_done: Is told when all samples of a job have ended.
    """

    def __init__(
        self,
        runs: Sequence[JobRun],
        *,
        asker: Asker,
        build: Workers,
        scoring: Scoring,
        spawn: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]],
        observer: Observer,
        on_finished: Callable[[Job, Finished], None],
        on_job_done: Callable[[Job, Task], None],
    ) -> None:
        self._runs, self._asker = runs, asker
        self._build, self._scoring = build, scoring
        self._spawn, self._observer = spawn, observer
        self._on_finished, self._on_job_done = on_finished, on_job_done
        self._model = runs[0].job.model
        self._tally = asker.tally(self._model)
        self._tally.jobs_waiting += len(runs)
        self._window = Window(self._busy)

    def _busy(self) -> int:
        """Samples that keep the model busy."""
        return self._asker.calls_at_once(self._model) * max(1, self._model.batch)

    async def go(self) -> None:
        """Run the jobs one behind the other: the next is built while the last is answered."""
        endings = []
        for run in self._runs:
            if self._asker.is_stopped(self._model):
                break
            task = await self._load(run)
            if task is not None:
                endings.append(self._spawn(self._end_job(run, task), "ending"))
                await self._build_samples(run, task)
        await asyncio.gather(*endings)

    async def _load(self, run: JobRun) -> Task | None:
        try:
            task, run.size = await self._build.run(_load, run.job)
            self._tally.samples_total += run.size or 0
            self._scoring.begin(run, task)
            return task
        except InputError as error:
            run.failure = str(error)
        except Exception as error:
            run.failure = f"could not be loaded: {describe(error)}"
        finally:
            self._tally.jobs_waiting -= 1
        self._observer.note(f"{run.job.name}: {run.failure}")
        return None

    async def _build_samples(self, run: JobRun, task: Task) -> None:
        try:
            samples = await self._build.run(_iterate, task, run.job.limit)
            most = 1  # the first request leaves as soon as it is built
            while chunk := await self._build.run(build_chunk, task, samples, most, CHUNK_S):
                if not await self._start_samples(run, task, chunk):
                    return
                most = CHUNK
            run.built = True
        except Exception as error:
            run.failure = f"its samples could not be read: {describe(error)}"
            self._observer.note(f"{run.job.name}: {run.failure}")
        finally:
            run.open -= 1
            _set_if_drained(run)

    async def _start_samples(self, run: JobRun, task: Task, chunk: Sequence[Built]) -> bool:
        """Send the samples of a chunk on their way; whether there is a use in building more."""
        for sample, requests, problem in chunk:
            place = await self._window.enter(prompt_characters(requests))
            if self._asker.is_stopped(self._model):
                place.leave()
                return False
            run.open += 1
            self._spawn(self._sample(run, task, sample, requests, problem, place), SAMPLE)
        return True

    async def _sample(
        self,
        run: JobRun,
        task: Task,
        sample: Sample,
        requests: tuple[Request, ...],
        problem: str,
        place: Place,
    ) -> None:
        try:
            if problem:
                run.note(sample, problem)
                self._finish(run, sample, (), (), Score(status="error", note=problem))
                return
            await self._cycle(run, task, sample, requests, place)
        finally:
            place.leave()
            run.open -= 1
            _set_if_drained(run)

    async def _cycle(
        self, run: JobRun, task: Task, sample: Sample, requests: tuple[Request, ...], place: Place
    ) -> None:
        """Ask, look whether the task asks on, and score."""
        asked: tuple[Request, ...] = ()
        answers: tuple[Response, ...] = ()
        score: Score | None = None
        while requests:
            asked += requests
            try:
                answers += tuple(await self._asker.ask_all(self._model, requests))
            except StoppedError:
                run.unfinished += 1
                return
            if (score := error_score(answers)) is not None:
                break
            step = await self._build.run(self._advance, run, task, sample, answers)
            requests, score, problem = step
            if problem:
                run.note(sample, problem)
        if score is not None:
            self._finish(run, sample, asked, answers, score)
        elif task.scores_together:
            run.held.append((sample, asked, answers))
            self._tally.samples_done += 1
        else:
            size = size_of(asked, answers)
            # its place goes to another sample, unless too much waits to be scored already
            if roomy := self._scoring.backlog.take(size):
                place.leave()
            try:
                score = await self._scoring.score(run, task, sample, answers)
            finally:
                if roomy:
                    self._scoring.backlog.give_back(size)
            self._finish(run, sample, asked, answers, score)

    def _advance(
        self, run: JobRun, task: Task, sample: Sample, answers: Sequence[Response]
    ) -> tuple[tuple[Request, ...], Score | None, str]:
        """What to ask next, or the score if it can be had here, and what went wrong."""
        try:
            more = tuple(task.requests(sample, answers))
        except Exception as error:
            problem = f"requests: {describe(error)}"
            return (), Score(status="error", note=problem), problem
        return more, None if more else self._scoring.now(run, task, sample, answers), ""

    def _finish(
        self,
        run: JobRun,
        sample: Sample,
        asked: tuple[Request, ...],
        answers: tuple[Response, ...],
        score: Score,
    ) -> None:
        self._tally.samples_done += 1
        self._report(run, sample, asked, answers, score)

    def _report(
        self,
        run: JobRun,
        sample: Sample,
        asked: tuple[Request, ...],
        answers: tuple[Response, ...],
        score: Score,
    ) -> None:
        finished = Finished(sample=sample, requests=asked, responses=answers, score=score)
        run.count(finished)
        if score.status == "unscored":
            run.note(sample, score.note)
        self._tally.samples_failed += score.status in ("error", "unscored")
        self._on_finished(run.job, finished)

    async def _end_job(self, run: JobRun, task: Task) -> None:
        """When every sample has ended: score what is scored together, and say so."""
        await run.drained.wait()
        if not run.built or run.failure or run.unfinished:
            return
        held = sorted(run.held, key=lambda one: one[0].index)
        if held:
            answered = [(sample, answers) for sample, _, answers in held]
            scores = await self._scoring.score_together(run, task, answered)
            for (sample, asked, answers), score in zip(held, scores, strict=True):
                self._report(run, sample, asked, answers, score)
            run.held.clear()
        run.complete = True
        self._on_job_done(run.job, task)


def _load(job: Job) -> tuple[Task, int]:
    task = job.load()
    return task, task.size(job.limit)


def _iterate(task: Task, limit: int | float | None) -> Iterator[Sample]:
    return iter(task.samples(limit))


def _set_if_drained(run: JobRun) -> None:
    if run.open == 0:
        run.drained.set()
