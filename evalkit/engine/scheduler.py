"""Runs tasks at models: one flow a model, all models at once, nothing waits for a task's end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence

from evalkit.engine.asking import Asker
from evalkit.engine.failures import describe
from evalkit.engine.flow import SAMPLE, Flow
from evalkit.engine.interrupt import interruptible
from evalkit.engine.jobs import Finished, Job, JobRun
from evalkit.engine.journal import Journal
from evalkit.engine.limits import Clock, Sleep
from evalkit.engine.progress import Observer, SilentProgress, SteadyProgress
from evalkit.engine.scoring import Scoring
from evalkit.engine.settings import EngineSettings
from evalkit.engine.spending import Price
from evalkit.engine.tally import Outcome
from evalkit.engine.workers import Workers
from evalkit.errors import StoppedError
from evalkit.tasks.protocol import Task

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
    watching = SteadyProgress(observer or SilentProgress())
    asker = Asker(
        journal,
        settings or EngineSettings(),
        price=price,
        note=watching.note,
        clock=clock,
        sleep=sleep,
    )
    run = _Run(jobs, asker, on_finished, on_job_done, watching, clock)
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
        self._runs = [JobRun(job) for job in jobs]
        self._build = Workers(1, "build")
        self._scoring = Scoring(self._build, asker.settings.scoring_s, observer.note)
        self._tasks: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None
        self._interrupted = False
        self._abort = asyncio.Event()
        self._flows = [
            Flow(
                runs,
                asker=asker,
                build=self._build,
                scoring=self._scoring,
                spawn=self._spawn,
                observer=observer,
                on_finished=on_finished,
                on_job_done=on_job_done,
            )
            for runs in _by_model(self._runs)
        ]

    async def go(self) -> Outcome:
        started = self._clock()
        self._observer.start(self._asker.tallies)
        ticking = self._spawn(self._tick(), "ticking")
        try:
            with interruptible(self._interrupt, self._abort.set):
                await self._until_done_or_stopped()
        finally:
            ticking.cancel()
            self._build.close()
            self._scoring.close()
            self._observer.stop()
        if (crash := self._crash or self._asker.crash) is not None:
            raise crash
        return self._outcome(self._clock() - started)

    async def _until_done_or_stopped(self) -> None:
        flows = [self._spawn(flow.go(), "flow") for flow in self._flows]
        everything = asyncio.gather(*flows, return_exceptions=True)
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
            await self._asker.close()
            self._flush()

    async def _wind_down(self) -> None:
        """Let what is in flight finish, unless the user is in a hurry."""
        ending = asyncio.create_task(self._end_in_flight())
        aborting = asyncio.create_task(self._abort.wait())
        await asyncio.wait((ending, aborting), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        aborting.cancel()
        await asyncio.gather(ending, aborting, return_exceptions=True)

    async def _end_in_flight(self) -> None:
        grace_s = self._asker.settings.grace_s
        # answers that are paid for are waited for; after Ctrl-C only for the grace
        await self._asker.drain(grace_s if self._interrupted else None)
        if samples := [task for task in self._tasks if task.get_name() == SAMPLE]:
            # scoring may be behind a data set that loads: what is journaled is scored on resume
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

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
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
