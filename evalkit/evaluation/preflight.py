"""What is made sure of before anything is sent."""

from __future__ import annotations

from pathlib import Path

from evalkit.data.inventory import where
from evalkit.data.mirror import Mirror
from evalkit.data.refusals import not_here
from evalkit.errors import InputError, SandboxError
from evalkit.evaluation.plan import Plan, PlannedJob, Selected
from evalkit.tasks.datasets import datasets_of


def check_data(plan: Plan) -> None:
    """Make sure that the tasks can be run here and their rows be had.

    The first task is loaded, and every task that runs programs, because it needs a sandbox:
    one that a suite brought along is skipped where there is none. Without a network the data
    sets of all tasks are looked up too; with one, a later task whose rows cannot be had
    fails alone.

    Raises:
        InputError: The rows of a task cannot be had, or it cannot be run or asked this way.
    """
    if plan.data.mirror:
        Mirror(Path(plan.data.mirror))
    for one in plan.selected:
        first = next(job for job in plan.jobs if job.ref.name == one.ref.name)
        if first.info.heavy_scoring or first is plan.jobs[0]:
            _load(plan, one, first)
    plan.selected = [one for one in plan.selected if one.ref.name not in plan.skipped]
    plan.jobs = [job for job in plan.jobs if job.ref.name not in plan.skipped]
    if not plan.jobs:
        raise InputError("; ".join(plan.skipped.values()))
    if plan.data.offline:
        _look_up(plan)


def _load(plan: Plan, one: Selected, job: PlannedJob) -> None:
    try:
        job.preloaded.append(job.load())
    except SandboxError as error:
        if one.entry is None:
            raise
        plan.skipped[one.ref.name] = str(error)


def _look_up(plan: Plan) -> None:
    for one in plan.selected:
        for ref in datasets_of(one.ref):
            found = where(ref, plan.data)
            if found.place == "nowhere":
                raise not_here(ref.path, ref.config, found.detail)
