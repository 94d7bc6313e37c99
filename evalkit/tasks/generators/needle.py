"""Needles in a haystack: facts hidden in a long text, to be given back.

After G. Kamradt's test (2023) and the multi-key needles of RULER (Hsieh et al., 2024,
arXiv:2404.06654), with text of our own: the haystack is sentences drawn from a small grammar, so
that no model has seen it and no book has to be fetched, and every needle is a code word of a
city. Rows go through all lengths and depths in turn, so that every limit covers them evenly.

A row: `{"context": ..., "question": ..., "cities": [...], "codes": [...], "length": 2000,
"depth": 0.5}`; with several needles the first lies at `depth`, the others at even distances
round the text.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evalkit.config.yaml import Definition
from evalkit.data.options import DataOptions
from evalkit.tasks.generators.filler import filler
from evalkit.tasks.generators.generator import Generator, Row, row_random

_CITIES = [
    "Lisbon",
    "Oslo",
    "Nairobi",
    "Kyoto",
    "Quito",
    "Tunis",
    "Riga",
    "Lima",
    "Cairo",
    "Perth",
    "Dakar",
    "Seoul",
    "Havana",
    "Dublin",
    "Ankara",
    "Hanoi",
    "Accra",
    "Vienna",
    "Bogota",
    "Zagreb",
    "Manila",
    "Tallinn",
    "Muscat",
    "Denver",
]
_NEEDLE = "The code word of {city} is {code}."


class NeedleParams(Definition, frozen=True, kw_only=True):
    """What is hidden where.

    Args:
        lengths: Lengths of the haystacks, in characters (about four to a token).
        depths: Where the first needle lies: 0 is the beginning, 1 the end.
        needles: How many facts are hidden.
        asked: How many of them the question asks for; the others distract.
    """

    lengths: tuple[int, ...]
    depths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    needles: int = 1
    asked: int = 1

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 200:
            raise ValueError("lengths must be at least 200 characters")
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            raise ValueError("depths must be from 0 to 1")
        if not 1 <= self.asked <= self.needles <= len(_CITIES):
            raise ValueError(f"it must be that 1 <= asked <= needles <= {len(_CITIES)}")


def make(params: NeedleParams, seed: int, size: int, data: DataOptions) -> Callable[[int], Row]:
    """The function from index to row."""

    def row(index: int) -> Row:
        random = row_random(seed, index)
        length = params.lengths[index % len(params.lengths)]
        depth = params.depths[index // len(params.lengths) % len(params.depths)]
        cities = random.choice(_CITIES, size=params.needles, replace=False).tolist()
        codes = _codes(random, params.needles)
        needles = [_NEEDLE.format(city=c, code=w) for c, w in zip(cities, codes, strict=True)]
        asked = cities[: params.asked]
        return {
            "context": _haystack(random, length, depth, needles),
            "question": _question(asked),
            "cities": asked,
            "codes": codes[: params.asked],
            "length": length,
            "depth": depth,
        }

    return row


def _codes(random: np.random.Generator, count: int) -> list[str]:
    """Distinct numbers of seven digits: none stands in the haystack, none is guessed."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes[str(random.integers(1_000_000, 10_000_000))] = None
    return list(codes)


def _question(cities: list[str]) -> str:
    if len(cities) == 1:
        return f"What is the code word of {cities[0]}?"
    return f"What are the code words of {', '.join(cities[:-1])} and {cities[-1]}?"


def _haystack(random: np.random.Generator, length: int, depth: float, needles: list[str]) -> str:
    sentences = filler(random, length - sum(len(needle) + 1 for needle in needles))
    places = [(depth + i / len(needles)) % 1.0 if i else depth for i in range(len(needles))]
    by_depth = sorted(zip(places, needles, strict=True), reverse=True)
    for place, needle in by_depth:  # from the end, so that earlier places stay where they are
        sentences.insert(round(place * len(sentences)), needle)
    return " ".join(sentences)


NEEDLE = Generator(name="needle", version="1", params=NeedleParams, make=make)
