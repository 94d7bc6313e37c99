"""Opens all models of a run at once, and closes them whatever happens."""

from __future__ import annotations

import asyncio

from evalkit.evaluation.plan import Plan


async def open_models(plan: Plan) -> None:
    """Open every model.

    Raises:
        InputError: The first model, in the order named, that cannot be opened; the others
            are closed again.
    """
    opened = await asyncio.gather(
        *(member.model.open() for member in plan.members), return_exceptions=True
    )
    failures = [result for result in opened if isinstance(result, BaseException)]
    if failures:
        await close_models(plan)
        raise failures[0]


async def close_models(plan: Plan) -> None:
    """Close every model; a model that fails to close does not keep the others open."""
    closed = await asyncio.gather(
        *(member.model.close() for member in plan.members), return_exceptions=True
    )
    for result in closed:
        if isinstance(result, asyncio.CancelledError):
            raise result
