"""Runs tasks at models: one flow a model, all models at once, nothing waits for a task's end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from evalkit.engine.asking import Asker
from evalkit.engine.failures import describe
from evalkit.engine.interrupt import interruptible
from evalkit.engine.jobs import (
    Built,
    Finished,
    Job,
    JobRun,
    build_chunk,
    error_score,
    score_sample,
    score_together,
)
from evalkit.engine.journal import Journal
from evalkit.engine.limits import Clock, Sleep
from evalkit.engine.progress import Observer, SilentProgress
from evalkit.engine.settings import EngineSettings
from evalkit.engine.spending import Price
from evalkit.engine.tally import Outcome
from evalkit.engine.workers import Workers
from evalkit.errors import InputError, StoppedError
from evalkit.models.protocol import Model
from evalkit.records import Request, Response, Sample, Score
from evalkit.tasks.protocol import Task

#: Samples built at a time, and the seconds after which fewer will do: models must not idle.
CHUNK = 32
CHUNK_S = 0.02
#: Seconds between looks at the counters.
TICK_S = 0.25


async def run_jobs(
    jobs: Sequence[Job],
    *,
    journal: Journal,
    settings: EngineSettings | None = None,
    on_finished: Callable[[Job, Finished], None],
    on_job_done: Callable[[Job, Task], None],
    observer: Observer | None = None,
    price: Price | None = None,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> Outcome:
    """Ask every sample of every job and score it.

    Args:
        jobs: Jobs of one model run in the order given, without a barrier between them.
        journal: Where answers are looked up and kept; flushed, but not closed, at the end.
        settings: Limits and patience.
        on_finished: Called in the event loop's thread, in the order samples end.
        on_job_done: Called when every sample of a job has ended, with the loaded task.
        observer: Shows how it goes.
        price: What an answer costs.
        clock: Monotonic seconds.
        sleep: Waits that many seconds.

    Returns:
        What happened, also where the run was stopped or interrupted: see `Outcome.stopped`.
    """
    asker = Asker(journal, settings or EngineSettings(), price=price, clock=clock, sleep=sleep)
    run = _Run(jobs, asker, on_finished, on_job_done, observer or SilentProgress(), clock)
    return await run.go()


class _Run:
    """One call of `run_jobs`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        asker: Asker,
        on_finished: Callable[[Job, Finished], None],
        on_job_done: Callable[[Job, Task], None],
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._asker, self._observer, self._clock = asker, observer, clock
        self._on_finished, self._on_job_done = on_finished, on_job_done
        self._runs = [JobRun(job) for job in jobs]
        self._build = Workers(1, "build")
        self._scoring = Workers(os.cpu_count() or 1, "score")
        self._tasks: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None
        self._interrupted = False
        self._abort = asyncio.Event()

    async def go(self) -> Outcome:
        started = self._clock()
        for run in self._runs:
            self._asker.tally(run.job.model).jobs_waiting += 1
        self._observer.start(self._asker.tallies)
        ticking = asyncio.create_task(self._tick())
        try:
            with interruptible(self._interrupt, self._abort.set):
                await self._until_done_or_stopped()
        finally:
            ticking.cancel()
            self._build.close()
            self._scoring.close()
            self._observer.stop()
        if self._crash is not None:
            raise self._crash
        return self._outcome(self._clock() - started)

    async def _until_done_or_stopped(self) -> None:
        streams = [self._spawn(self._stream(runs)) for runs in _by_model(self._runs)]
        everything = asyncio.gather(*streams, return_exceptions=True)
        stopping = asyncio.create_task(self._asker.stop_event.wait())
        try:
            await asyncio.wait((everything, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                await self._wind_down()
        finally:
            stopping.cancel()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(everything, *self._tasks, return_exceptions=True)
            await self._asker.drain(0)
            self._flush()

    async def _wind_down(self) -> None:
        """Let what is in flight finish: as long as it takes, or the grace after Ctrl-C."""
        grace = self._asker.settings.grace_s if self._interrupted else None
        ending = asyncio.create_task(self._end_in_flight(grace))
        aborting = asyncio.create_task(self._abort.wait())
        await asyncio.wait((ending, aborting), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        aborting.cancel()
        await asyncio.gather(ending, aborting, return_exceptions=True)

    async def _end_in_flight(self, grace_s: float | None) -> None:
        await self._asker.drain(grace_s)
        if samples := [task for task in self._tasks if task.get_name() == "sample"]:
            await asyncio.wait(samples, timeout=grace_s)

    def _flush(self) -> None:
        try:
            self._asker.journal.flush()
        except StoppedError as error:
            self._asker.stop(str(error))

    def _interrupt(self) -> None:
        self._interrupted = True
        self._observer.note("Stopping: waiting for requests in flight. Ctrl-C again stops now.")
        self._asker.stop("interrupted")

    async def _tick(self) -> None:
        while True:
            self._observer.tick()
            await asyncio.sleep(TICK_S)

    def _spawn(self, work: Any, name: str = "") -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name or "stream")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A crash of ours, or of a callback, ends the run; what is journaled is safe."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._crash is None:
            self._crash = error
        self._asker.stop(describe(error))

    async def _stream(self, runs: Sequence[JobRun]) -> None:
        """All jobs of one model, one behind the other."""
        model = runs[0].job.model
        window = asyncio.Semaphore(self._window(model))
        endings = []
        for run in runs:
            if self._asker.is_stopped(model):
                break
            await self._load(run)
            if run.task is not None:
                endings.append(self._spawn(self._end_job(run, run.task)))
                await self._build_samples(run, run.task, window)
        await asyncio.gather(*endings)

    def _window(self, model: Model) -> int:
        """Samples of a model that are alive at once: enough to keep it busy, and no more."""
        calls = self._asker.settings.concurrency or max(1, model.concurrency)
        return 2 * calls * max(1, model.batch) + CHUNK

    async def _load(self, run: JobRun) -> None:
        tally = self._asker.tally(run.job.model)
        try:
            run.task, size = await self._build.run(_load, run.job)
            run.size = size
            tally.samples_total += size
        except InputError as error:
            run.failure = str(error)
        except Exception as error:
            run.failure = f"could not be loaded: {describe(error)}"
        finally:
            tally.jobs_waiting -= 1
        if run.failure:
            self._observer.note(f"{run.job.name}: {run.failure}")

    async def _build_samples(self, run: JobRun, task: Task, window: asyncio.Semaphore) -> None:
        try:
            samples: Iterator[Sample] | None = None
            most = 1  # the first request leaves as soon as it is built
            while True:
                if samples is None:
                    samples = await self._build.run(_iterate, task, run.job.limit)
                until = _timer(CHUNK_S)
                chunk = await self._build.run(build_chunk, task, samples, most, until)
                if not chunk or not await self._start(run, task, chunk, window):
                    break
                most = CHUNK
            run.built = not self._asker.is_stopped(run.job.model)
        except Exception as error:
            run.failure = f"its samples could not be read: {describe(error)}"
            self._observer.note(f"{run.job.name}: {run.failure}")
        finally:
            run.open -= 1
            _set_if_drained(run)

    async def _start(
        self, run: JobRun, task: Task, chunk: Sequence[Built], window: asyncio.Semaphore
    ) -> bool:
        """Send the samples of a chunk on their way; whether there is a use in building more."""
        for sample, requests, problem in chunk:
            await window.acquire()
            if self._asker.is_stopped(run.job.model):
                window.release()
                return False
            run.open += 1
            self._spawn(self._sample(run, task, sample, requests, problem, window), "sample")
        return True

    async def _sample(
        self,
        run: JobRun,
        task: Task,
        sample: Sample,
        requests: tuple[Request, ...],
        problem: str,
        window: asyncio.Semaphore,
    ) -> None:
        try:
            if problem:
                run.note(sample, problem)
                self._finish(run, sample, (), (), Score(status="error", note=problem))
                return
            await self._cycle(run, task, sample, requests)
        finally:
            window.release()
            run.open -= 1
            _set_if_drained(run)

    async def _cycle(
        self, run: JobRun, task: Task, sample: Sample, requests: tuple[Request, ...]
    ) -> None:
        """Ask, look whether the task asks on, and score."""
        asked: tuple[Request, ...] = ()
        answers: tuple[Response, ...] = ()
        score: Score | None = None
        while requests:
            asked += requests
            try:
                answers += tuple(await self._asker.ask_all(run.job.model, requests))
            except StoppedError:
                run.unfinished += 1
                return
            if (score := error_score(answers)) is not None:
                break
            requests, score, problem = await self._build.run(_advance, task, sample, answers)
            if problem:
                run.note(sample, problem)
        if score is not None:
            self._finish(run, sample, asked, answers, score)
        elif task.scores_together:
            run.held.append((sample, asked, answers))
        else:
            score = await self._scorers(task).run(score_sample, task, sample, answers)
            self._finish(run, sample, asked, answers, score)

    def _scorers(self, task: Task) -> Workers:
        return self._scoring if task.info.heavy_scoring else self._build

    def _finish(
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
        tally = self._asker.tally(run.job.model)
        tally.samples_done += 1
        tally.samples_failed += score.status in ("error", "unscored")
        self._on_finished(run.job, finished)

    async def _end_job(self, run: JobRun, task: Task) -> None:
        """When every sample has ended: score what is scored together, and say so."""
        await run.drained.wait()
        if not run.built or run.failure or run.unfinished:
            return
        held = sorted(run.held, key=lambda one: one[0].index)
        if held:
            answered = [(sample, answers) for sample, _, answers in held]
            scores = await self._scorers(task).run(score_together, task, answered)
            for (sample, asked, answers), score in zip(held, scores, strict=True):
                self._finish(run, sample, asked, answers, score)
            run.held.clear()
        run.complete = True
        self._on_job_done(run.job, task)

    def _outcome(self, seconds: float) -> Outcome:
        reasons = [self._asker.stopped, *self._asker.model_failures.values()]
        return Outcome(
            jobs=tuple(run.outcome() for run in self._runs),
            models={name: tally.outcome() for name, tally in self._asker.tallies.items()},
            seconds=seconds,
            interrupted=self._interrupted,
            stopped="; ".join(reason for reason in reasons if reason),
        )


def _by_model(runs: Sequence[JobRun]) -> list[list[JobRun]]:
    streams: dict[int, list[JobRun]] = {}
    for run in runs:
        streams.setdefault(id(run.job.model), []).append(run)
    return list(streams.values())


def _load(job: Job) -> tuple[Task, int]:
    task = job.load()
    return task, task.size(job.limit)


def _iterate(task: Task, limit: int | float | None) -> Iterator[Sample]:
    return iter(task.samples(limit))


def _timer(seconds: float) -> Callable[[], bool]:
    """Whether `seconds` have passed since the first time it was asked."""
    until: list[float] = []

    def passed() -> bool:
        now = time.monotonic()
        if not until:
            until.append(now + seconds)
        return now >= until[0]

    return passed


def _set_if_drained(run: JobRun) -> None:
    if run.open == 0:
        run.drained.set()


def _advance(
    task: Task, sample: Sample, answers: Sequence[Response]
) -> tuple[tuple[Request, ...], Score | None, str]:
    """What to ask next, or the score if it can be had here, and what went wrong."""
    try:
        more = tuple(task.requests(sample, answers))
    except Exception as error:
        problem = f"requests: {describe(error)}"
        return (), Score(status="error", note=problem), problem
    if more or task.scores_together or task.info.heavy_scoring:
        return more, None, ""
    return (), score_sample(task, sample, answers), ""
