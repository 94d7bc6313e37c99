"""The surroundings in which lm-eval's code runs: quiet, seeded, quick and, if wanted, offline."""

from __future__ import annotations

import importlib
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

#: lm-eval seeds Python's generator with 0, all others with 1234 (`lm_eval.defaults`).
PYTHON_SEED, OTHER_SEED = 0, 1234


def prepare() -> None:
    """Once a process: keeps lm-eval off the terminal, and its compiled templates in memory.

    lm-eval compiles a Jinja template each time that it fills one in, some ten times a
    document: nine tenths of the time that building a prompt takes.
    """
    from lm_eval import utils

    logging.getLogger("lm_eval").addHandler(logging.NullHandler())
    if not hasattr(utils.env.from_string, "cache_info"):
        utils.env.from_string = lru_cache(maxsize=1024)(utils.env.from_string)


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
    # the package reads its switch from the environment when it is imported
    config: Any = importlib.import_module("evaluate.config")
    before = config.HF_EVALUATE_OFFLINE
    config.HF_EVALUATE_OFFLINE = True
    try:
        yield
    finally:
        config.HF_EVALUATE_OFFLINE = before
