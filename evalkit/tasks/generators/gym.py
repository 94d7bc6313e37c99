"""Rows of a Reasoning Gym data set; `evalkit.scoring.reasoning_gym` says how it is loaded.

Rows become plain JSON values, as all samples are: fractions and the like in their metadata turn
into text.
"""

from __future__ import annotations

from collections.abc import Callable

from evalkit.data.options import DataOptions
from evalkit.scoring.reasoning_gym import GymParams, create_dataset
from evalkit.tasks.generators.generator import Generator, Row
from evalkit.tasks.lm_eval.values import plain


def make(params: GymParams, seed: int, size: int, data: DataOptions) -> Callable[[int], Row]:
    """The function from index to row: question, answer and metadata."""
    dataset = create_dataset(params, seed, size, data.cache_path, data.offline)

    def row(index: int) -> Row:
        made: Row = plain(dataset[index])
        return made

    return row


REASONING_GYM = Generator(name="reasoning_gym", version="1", params=GymParams, make=make)
