"""The Python interface: the same settings as the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from evalkit.config.run_config import ModelEntry, RunConfig
from evalkit.engine.progress import Observer
from evalkit.errors import InputError, UnknownNameError
from evalkit.evaluation import run as _run
from evalkit.models.protocol import Model
from evalkit.runs import Run

ModelLike = str | ModelEntry | Model


def evaluate(
    models: Sequence[ModelLike],
    tasks: Sequence[str] = (),
    *,
    suites: Sequence[str] = (),
    observer: Observer | None = None,
    **settings: Any,
) -> Run:
    """Ask every task of every model, score, and write a run folder.

    Args:
        models: Specs such as `openai/gpt-4o`, entries with settings of their own, or models.
        tasks: Names of tasks, groups, tags, or patterns.
        suites: Names of suites.
        observer: Shows progress; silent by default.
        settings: Any other field of `evalkit.config.run_config.RunConfig`: `limit`,
            `num_fewshot`, `output`, `mirror`, `max_cost`, and so on.

    Returns:
        The run; `state` says how it ended. It works in a notebook too.

    Raises:
        InputError: Something is wrong with the arguments; nothing was sent.
    """
    return _run.wait_for(
        evaluate_async(models, tasks, suites=suites, observer=observer, **settings)
    )


async def evaluate_async(
    models: Sequence[ModelLike],
    tasks: Sequence[str] = (),
    *,
    suites: Sequence[str] = (),
    observer: Observer | None = None,
    **settings: Any,
) -> Run:
    """`evaluate`, to be awaited."""
    instances = {m.name: m for m in models if not isinstance(m, (str, ModelEntry))}
    entries = tuple(
        m
        if isinstance(m, (str, ModelEntry))
        else ModelEntry(model=f"python/{m.name}", alias=m.name)
        for m in models
    )
    config = _config(models=entries, tasks=tuple(tasks), suites=tuple(suites), **settings)
    return await _run.evaluate_async(config, observer=observer, instances=instances)


def _entry(model: ModelLike) -> str | ModelEntry:
    if isinstance(model, (str, ModelEntry)):
        return model
    return ModelEntry(model=f"python/{model.name}", alias=model.name)


def _config(**fields: Any) -> RunConfig:
    known = RunConfig.__struct_fields__
    for name in fields:
        if name not in known:
            raise UnknownNameError("setting", name, known)
    try:
        return msgspec.convert(fields, RunConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"Wrong setting: {error}") from None
