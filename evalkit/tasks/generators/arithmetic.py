"""Chains of sums: `{"question": "12 + 7 - 30", "answer": -11, "terms": 3}`."""

from __future__ import annotations

from collections.abc import Callable

from evalkit.config.yaml import Definition
from evalkit.data.options import DataOptions
from evalkit.tasks.generators.generator import Generator, Row, row_random


class ArithmeticParams(Definition, frozen=True, kw_only=True):
    """How hard the sums are: their terms, the digits of each, and whether some are taken away."""

    min_terms: int = 2
    max_terms: int = 4
    digits: int = 2
    subtract: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.min_terms <= self.max_terms <= 1_000:
            raise ValueError("it must be that 2 <= min_terms <= max_terms <= 1000")
        if not 1 <= self.digits <= 18:
            raise ValueError("digits must be from 1 to 18")


def make(params: ArithmeticParams, seed: int, size: int, data: DataOptions) -> Callable[[int], Row]:
    """The function from index to row."""

    def row(index: int) -> Row:
        random = row_random(seed, index)
        count = int(random.integers(params.min_terms, params.max_terms + 1))
        terms = random.integers(1, 10**params.digits, size=count).tolist()
        drawn = random.integers(0, 2, size=count - 1).tolist() if params.subtract else []
        signs = [1, *(1 - 2 * one for one in drawn)] + [1] * (count - 1 - len(drawn))
        words = [
            f" {'+' if sign > 0 else '-'} {term}"
            for sign, term in zip(signs[1:], terms[1:], strict=True)
        ]
        total = sum(sign * term for sign, term in zip(signs, terms, strict=True))
        return {"question": f"{terms[0]}{''.join(words)}", "answer": total, "terms": count}

    return row


ARITHMETIC = Generator(name="arithmetic", version="1", params=ArithmeticParams, make=make)
