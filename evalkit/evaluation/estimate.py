"""What a run would ask and cost, before it does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from evalkit.config.run_config import RunConfig
from evalkit.engine.jobs import Job
from evalkit.engine.journal import JournalReader
from evalkit.engine.planner import JobPlan, estimate, total_cost
from evalkit.errors import InputError
from evalkit.evaluation.manifest import claim_folder
from evalkit.evaluation.opening import close_models, open_models
from evalkit.evaluation.plan import Plan, PlannedJob, assign, draft
from evalkit.evaluation.pricing import price_function
from evalkit.records import Usage
from evalkit.runs import JOURNAL

_ONE = Usage(input_tokens=1, output_tokens=1)


async def dry_run(config: RunConfig, environ: Mapping[str, str] = os.environ) -> list[JobPlan]:
    """What `config` would ask of each model, and what its folder already holds.

    Raises:
        InputError: Something in the config is wrong.
    """
    plan = draft(config, environ)
    folder = Path(config.output) if config.output else None
    if folder is not None:
        claim_folder(folder, config)
    await open_models(plan)
    try:
        assign(plan)
        return await asyncio.to_thread(plan_jobs, plan, folder)
    finally:
        await close_models(plan)


def plan_jobs(plan: Plan, folder: Path | None) -> list[JobPlan]:
    """The plan of every job; builds all prompts, sends none."""
    journal = folder / JOURNAL if folder is not None and plan.config.cache else None
    held = JournalReader(journal) if journal is not None and journal.is_file() else nullcontext()
    with held as reader:
        return estimate(
            [_job(one) for one in plan.jobs], journal=reader, price=price_function(plan)
        )


def _job(one: PlannedJob) -> Job:
    return Job(model=one.member.model, load=one.load, limit=one.limit, name=one.ref.name)


async def check_cost(plan: Plan, folder: Path) -> None:
    """Refuse a run whose estimate is above its cost limit.

    Raises:
        InputError: Says the estimate, and what to do.
    """
    limit = plan.config.max_cost
    price = price_function(plan)
    if limit is None or all(price(m.model, _ONE) is None for m in plan.members):
        return
    plans = await asyncio.to_thread(plan_jobs, plan, folder)
    likely = sum(one.expected_cost_usd or 0.0 for one in plans)
    if likely > limit:
        raise InputError(
            f"The run would likely cost ${likely:.4f} (at most ${total_cost(plans) or 0:.4f}), "
            f"which is above --max-cost {limit:g}: raise it, or lower --limit or --max-tokens"
        )
