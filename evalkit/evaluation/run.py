"""suite x models -> run folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from evalkit.config.run_config import ModelEntry, RunConfig
from evalkit.engine.jobs import Finished, Job
from evalkit.engine.journal import Journal
from evalkit.engine.progress import Observer
from evalkit.engine.scheduler import run_jobs
from evalkit.engine.settings import EngineSettings, Rates
from evalkit.engine.tally import Outcome
from evalkit.evaluation.estimate import check_cost
from evalkit.evaluation.logs import set_log_level
from evalkit.evaluation.manifest import claim_folder, default_folder, new_manifest
from evalkit.evaluation.opening import close_models, open_models
from evalkit.evaluation.order import longest_first
from evalkit.evaluation.plan import Plan, PlannedJob, assign, draft
from evalkit.evaluation.preflight import check_data
from evalkit.evaluation.pricing import price_function
from evalkit.evaluation.record import Recorder
from evalkit.models.protocol import Model
from evalkit.runs import JOURNAL, Run, load_run
from evalkit.tasks.protocol import Task

Clock = Callable[[], datetime]
Result = TypeVar("Result")


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


def evaluate(
    config: RunConfig,
    *,
    command: Sequence[str] = (),
    observer: Observer | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Clock = utc_now,
    on_ready: Callable[[], None] = lambda: None,
) -> Run:
    """Run `config` to its end, or as far as it goes; see `evaluate_async`."""
    return wait_for(
        evaluate_async(
            config,
            command=command,
            observer=observer,
            environ=environ,
            clock=clock,
            on_ready=on_ready,
        )
    )


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, also where an event loop already runs (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def evaluate_async(
    config: RunConfig,
    *,
    command: Sequence[str] = (),
    observer: Observer | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Clock = utc_now,
    instances: Mapping[str, Model] = MappingProxyType({}),
    on_ready: Callable[[], None] = lambda: None,
) -> Run:
    """Run `config`: ask every task of every model, score, and write the run folder.

    Args:
        config: What to run. With an `output` that holds the same run, it goes on there.
        command: The command line, for the manifest.
        observer: Shows progress.
        environ: Where keys, the mirror and the offline switch are read.
        clock: The time, for the manifest.
        instances: Models that were made in Python, by label.
        on_ready: Called when all is checked and the first request is about to be sent.

    Returns:
        The run. Its `state` says how it ended: `done`; `failed` (done, but some samples or
        tasks failed); `stopped` or `interrupted` (resumable).

    Raises:
        InputError: Something in the config is wrong; nothing was sent.
    """
    set_log_level(config.log_level)
    plan = draft(config, environ, instances)
    folder = Path(config.output) if config.output else default_folder(config, clock())
    earlier = claim_folder(folder, config)
    await open_models(plan)
    try:
        assign(plan)
        plan.jobs = longest_first(plan.jobs)
        check_data(plan)
        await check_cost(plan, folder)
        folder.mkdir(parents=True, exist_ok=True)
        manifest = new_manifest(plan, command, clock(), earlier)
        on_ready()
        return await _Evaluation(plan, folder, manifest, clock).run(observer)
    finally:
        await close_models(plan)


@dataclass(slots=True)
class _Evaluation:
    """One run of a checked plan."""

    plan: Plan
    folder: Path
    manifest: dict[str, Any]
    clock: Clock
    recorder: Recorder = field(init=False)
    closing: list[asyncio.Future[None]] = field(default_factory=list)
    #: One task is closed at a time: they all write scores.json.
    closer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "close"))

    def __post_init__(self) -> None:
        price = price_function(self.plan)

        def cost_of(job: PlannedJob) -> Any:
            return lambda usage: price(job.member.model, usage)

        self.recorder = Recorder(self.folder, self.plan, self.manifest, cost_of)

    async def run(self, observer: Observer | None) -> Run:
        with closing(Journal(self.folder / JOURNAL)) as journal:
            if not self.plan.config.cache:
                journal.new_epoch()
            self.recorder.save()
            try:
                outcome = await self._ask(journal, observer)
                await asyncio.gather(*self.closing)
            finally:
                self.closer.shutdown()
                self.recorder.abandon()
        self._conclude(outcome)
        return load_run(self.folder)

    async def _ask(self, journal: Journal, observer: Observer | None) -> Outcome:
        planned = {(job.member.label, job.ref.name): job for job in self.plan.jobs}
        loaded: dict[tuple[str, str], Task] = {}

        def job_for(one: PlannedJob) -> Job:
            def load() -> Task:
                task = loaded[one.member.label, one.ref.name] = one.load()
                return task

            return Job(
                model=one.member.model,
                load=load,
                recipe=one.recipe,
                limit=one.limit,
                name=one.ref.name,
            )

        def on_finished(job: Job, done: Finished) -> None:
            key = (job.model.name, job.name)
            self.recorder.add(
                planned[key], loaded[key], done.sample, done.requests, done.responses, done.score
            )

        def on_job_done(job: Job, task: Task) -> None:
            key = (job.model.name, job.name)
            loaded.pop(key, None)
            # metrics may be resampled for seconds: other answers go on arriving meanwhile
            self.closing.append(
                asyncio.wrap_future(self.closer.submit(self.recorder.close, planned[key], task))
            )

        return await run_jobs(
            [job_for(one) for one in self.plan.jobs],
            journal=journal,
            settings=_settings(self.plan),
            on_finished=on_finished,
            on_job_done=on_job_done,
            observer=observer,
            price=price_function(self.plan),
        )

    def _conclude(self, outcome: Outcome) -> None:
        self.manifest["state"] = self._state(outcome)
        self.manifest["reason"] = outcome.stopped
        self.manifest["ended"] = self.clock().isoformat(timespec="seconds")
        self.manifest["engine"] = _engine_facts(outcome)
        self.manifest["problems"] = [
            {"task": job.name, "model": job.model, "failure": job.failure}
            | {"samples": list(job.problems)}
            for job in outcome.jobs
            if job.failure or job.problems
        ] + [
            {"task": task, "model": model, "failure": reason, "samples": []}
            for (model, task), reason in self.recorder.unscored.items()
        ]
        names = ("ended", "state", "reason", "engine")
        self.manifest["sessions"][-1] |= {name: self.manifest[name] for name in names}
        self.recorder.save()

    def _state(self, outcome: Outcome) -> str:
        if outcome.interrupted:
            return "interrupted"
        if outcome.stopped:
            return "stopped"
        lost = any(
            tally.failed or tally.statuses["unscored"] for tally in self.recorder.tallies.values()
        )
        lost = lost or bool(self.recorder.unscored)
        return "failed" if lost or not all(job.complete for job in outcome.jobs) else "done"


def _settings(plan: Plan) -> EngineSettings:
    config = plan.config
    return EngineSettings(
        max_attempts=config.max_attempts,
        deadline_s=config.deadline_s,
        rates={m.model.provider: rates for m in plan.members if (rates := _rates(m.entry))},
        max_cost=config.max_cost,
        seed=config.seed,
    )


def _rates(entry: ModelEntry) -> Rates | None:
    if entry.requests_per_minute is None and entry.tokens_per_minute is None:
        return None
    return Rates(
        requests_per_minute=entry.requests_per_minute, tokens_per_minute=entry.tokens_per_minute
    )


def _engine_facts(outcome: Outcome) -> dict[str, Any]:
    models = outcome.models.values()
    failed: dict[str, int] = {}
    for model in models:
        for kind, count in model.failures.items():
            failed[kind] = failed.get(kind, 0) + count
    return {
        "seconds": round(outcome.seconds, 3),
        "requests_sent": sum(model.sent for model in models),
        "calls": sum(model.calls for model in models),
        "from_journal": sum(model.from_journal for model in models),
        "deduplicated": sum(model.deduplicated for model in models),
        "recovered": sum(model.recovered for model in models),
        "failed_attempts": failed,
        "models": msgspec.to_builtins(outcome.models),
    }
