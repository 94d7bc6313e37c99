"""The surroundings in which lm-eval's code runs: quiet, seeded, quick and, if wanted, offline."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any, cast

from evalkit.tasks.lm_eval.deferral import deferred
from evalkit.tasks.lm_eval.pools import keep_pools_in_arrow

#: lm-eval seeds Python's generator with 0, all others with 1234 (`lm_eval.defaults`).
PYTHON_SEED, OTHER_SEED = 0, 1234
#: What lm-eval and its tasks import at once, and use to score a few of them (or not at all).
SELDOM_USED = (
    "evaluate",
    "requests",
    "rouge_score.rouge_scorer",
    "rouge_score.scoring",
    "sacrebleu",
)
#: How `evaluate` reads its switch.
_TRUE = {"1", "ON", "YES", "TRUE"}


@lru_cache(maxsize=1)
def prepare() -> None:
    """Once a process: imports lm-eval, keeps it off the terminal, and its templates in memory.

    lm-eval compiles a Jinja template each time that it fills one in, some ten times a
    document: nine tenths of the time that building a prompt takes.
    """
    with deferred(SELDOM_USED):
        from lm_eval import utils
        from lm_eval.tasks import _factory  # noqa: F401 - brings lm_eval.api.task and datasets

    keep_pools_in_arrow()
    logging.getLogger("lm_eval").addHandler(logging.NullHandler())
    utils.env.from_string = lru_cache(maxsize=1024)(_flat(utils.env.from_string))


def _flat(compile_template: Callable[[str], Any]) -> Callable[[str], Any]:
    """`compile_template`, its templates' global names in one dictionary instead of a chain.

    Jinja copies them for each text that it renders, and a chain takes longer to copy than a
    short template to fill in.
    """

    def compiled(source: str) -> Any:
        template = compile_template(source)
        template.globals = dict(template.globals)
        return template

    return compiled


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global generators as `simple_evaluate` seeds them; put back afterwards.

    1234 stands for lm-eval's own seeds (0 for Python's generator), any other for itself.
    """
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(PYTHON_SEED if seed == OTHER_SEED else seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def without_bars() -> Iterator[None]:
    """Keeps the progress bars of `datasets` from the terminal, where evalkit draws its own."""
    import datasets

    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def metrics_offline(offline: bool) -> Any:
    """Within it the `evaluate` package, where lm-eval looks for some metrics, stays offline."""
    return _evaluate_offline() if offline else nullcontext()


@contextmanager
def _evaluate_offline() -> Iterator[None]:
    """Sets the package's switch, or the variable that it reads when it is imported.

    It is not imported for this: it takes seconds, and few tasks need it.
    """
    name, before = "HF_EVALUATE_OFFLINE", os.environ.get("HF_EVALUATE_OFFLINE")
    loaded: Any = sys.modules.get("evaluate.config")
    was = loaded.HF_EVALUATE_OFFLINE if loaded else (before or "").upper() in _TRUE
    os.environ[name] = "1"
    if loaded:
        loaded.HF_EVALUATE_OFFLINE = True
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        if config := sys.modules.get("evaluate.config"):
            cast(Any, config).HF_EVALUATE_OFFLINE = was
