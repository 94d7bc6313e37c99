"""Opens all models of a run at once, and closes them whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from evalkit.evaluation.plan import Plan
from evalkit.models.protocol import Model

_log = logging.getLogger(__name__)


async def open_models(plan: Plan) -> None:
    """Open every model: servers first and at once, then what is loaded into this process.

    Loading holds the interpreter for seconds, in which a server's answer would go unheard;
    and a server that is not there should be told before a large model is loaded.

    Raises:
        InputError: The first model, in the order named, that cannot be opened; the others
            are closed again.
    """
    models = [member.model for member in plan.members]
    here = [model for model in models if getattr(model, "in_process", False)]
    try:
        await _open_together([model for model in models if model not in here])
        for model in here:
            await model.open()
    except BaseException:
        await close_models(plan)
        raise


async def _open_together(models: Sequence[Model]) -> None:
    opened = await asyncio.gather(*(model.open() for model in models), return_exceptions=True)
    for result in opened:
        if isinstance(result, BaseException):
            raise result


async def close_models(plan: Plan) -> None:
    """Close every model; one that fails to close is logged and does not keep the others open."""
    closed = await asyncio.gather(
        *(member.model.close() for member in plan.members), return_exceptions=True
    )
    for member, result in zip(plan.members, closed, strict=True):
        if isinstance(result, asyncio.CancelledError):
            raise result
        if isinstance(result, BaseException):
            _log.warning("%s could not be closed: %r", member.label, result)
