"""Worked examples stay in Arrow: lm-eval copies every row that they may be drawn from to a list.

Its constructor does so also where nothing is drawn, and a training split can be a hundred times
the size of the documents. Here the constructor is shown an empty pool, and the sampler is given
one that reads rows as they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from evalkit.tasks.lm_eval.rows import Pool

#: The data sets that were held back from the constructors that run now, by the task's identity.
_held: ContextVar[dict[int, Any] | None] = ContextVar("evalkit_pools", default=None)


@contextmanager
def pools_in_arrow() -> Iterator[None]:
    """Within it (and this thread) a task that is built draws its examples out of Arrow."""
    token = _held.set({})
    try:
        yield
    finally:
        _held.reset(token)


def keep_pools_in_arrow() -> None:
    """Once a process: makes lm-eval's plain tasks heed `pools_in_arrow`."""
    from lm_eval.api.task import ConfigurableTask

    ConfigurableTask.fewshot_docs = _holding_back(ConfigurableTask.fewshot_docs)
    ConfigurableTask.__init__ = _giving_back(ConfigurableTask.__init__)


def _holding_back(fewshot_docs: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(fewshot_docs)
    def held_back(task: Any) -> Any:
        docs, held = fewshot_docs(task), _held.get()
        if held is None or hasattr(task, "sampler") or not _is_plain(task, docs):
            return docs
        held[id(task)] = docs
        return ()

    return held_back


def _giving_back(constructor: Callable[..., None]) -> Callable[..., None]:
    @wraps(constructor)
    def construct(task: Any, *arguments: Any, **named: Any) -> None:
        constructor(task, *arguments, **named)
        held = _held.get()
        if held and (docs := held.pop(id(task), None)) is not None:
            task.sampler.df = Pool(docs)
            task.sampler._loaded = True  # it would copy all rows when it first draws

    return construct


def _is_plain(task: Any, docs: Any) -> bool:
    """Whether only lm-eval's own constructor and samplers will look at the pool."""
    import datasets
    from lm_eval.api.task import ConfigurableTask

    sampler = task.fewshot_cfg.sampler if task.config.fewshot_config else "default"
    return (
        type(task) is ConfigurableTask
        and isinstance(docs, datasets.Dataset)
        and sampler in ("default", "first_n")
    )
