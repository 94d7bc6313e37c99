"""What a task would ask: built, not sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from evalkit.data.options import data_options
from evalkit.errors import InputError
from evalkit.records import Mode, Record, Request
from evalkit.tasks.catalogue import load, select
from evalkit.tasks.protocol import Prompting, Task


class Preview(Record, frozen=True, kw_only=True):
    """One sample as it would be asked and scored."""

    task: str
    id: str
    mode: Mode
    style: str
    requests: tuple[Request, ...]
    target: Any
    scoring: str


def preview_task(
    name: str,
    count: int,
    settings: Mapping[str, Any],
    *,
    mirror: str | None = None,
    offline: bool = False,
    include_path: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> list[Preview]:
    """The first `count` samples of the task `name` (of each member, for a group).

    Raises:
        InputError: No such task, or a setting that it does not know.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        prompting = msgspec.convert(given, Prompting)
    except msgspec.ValidationError as error:
        raise InputError(f"Wrong setting: {error}") from None
    options = data_options(mirror, offline or None, environ)
    tasks = (load(ref, prompting, options) for ref in select([name], include_path).tasks)
    return [preview for task in tasks for preview in _previews(task, count)]


def _previews(task: Task, count: int) -> list[Preview]:
    scoring = ", ".join(task.info.metrics) or "the task's own scorer"
    return [
        Preview(
            task=task.info.name,
            id=sample.id,
            mode=task.mode,
            style=task.prompting.style,
            requests=tuple(task.requests(sample, ())),
            target=sample.target,
            scoring=scoring,
        )
        for sample in itertools.islice(task.samples(count), count)
    ]
