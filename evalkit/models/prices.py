"""What API models cost and how much they take: `prices.yaml` beside this file, with its sources.

Standard (not batch, flex or fast) prices in US dollars a million tokens.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from evalkit.records import Record, Usage

_FILE = Path(__file__).with_name("prices.yaml")
_SNAPSHOT = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-latest|-0)$")


class Price(Record, frozen=True, kw_only=True):
    """One model's prices and limits.

    Args:
        provider: `openai` or `anthropic`.
        model: Its name without the snapshot's date.
        input: Dollars a million input tokens.
        output: Dollars a million output tokens, reasoning included.
        cached_input: Dollars a million input tokens read from a cache; None: as `input`.
        cache_write: Dollars a million input tokens written to a cache; None: as `input`.
        context_length: Prompt plus answer, in tokens.
        max_output_tokens: The longest answer.
        long_input_over: Above this many input tokens the whole request costs more:
        long_input_factor: Input (cache included) times this.
        long_output_factor: Output times this.
        min_cache_tokens: The shortest prefix that is cached.
        source: Where this was read.
        date: When it was read.
    """

    provider: str
    model: str
    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    long_input_over: int | None = None
    long_input_factor: float = 1.0
    long_output_factor: float = 1.0
    min_cache_tokens: int | None = None
    source: str = ""
    date: str = ""


def price_of(provider: str, model: str) -> Price | None:
    """The price of a model or of a dated snapshot of it; None where it is not known."""
    known = known_prices()
    return known.get((provider, model)) or known.get((provider, _SNAPSHOT.sub("", model)))


def cost(price: Price, usage: Usage) -> float:
    """What `usage` costs in US dollars.

    `usage.input_tokens` holds all input; the parts read from and written to a cache
    have their own prices. The surcharge for long prompts takes `usage` as one request's.
    """
    plain = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
    read = price.input if price.cached_input is None else price.cached_input
    write = price.input if price.cache_write is None else price.cache_write
    into = plain * price.input + usage.cached_tokens * read + usage.cache_write_tokens * write
    out = usage.output_tokens * price.output
    if price.long_input_over is not None and usage.input_tokens > price.long_input_over:
        into, out = into * price.long_input_factor, out * price.long_output_factor
    return (into + out) / 1e6


@lru_cache(maxsize=1)
def known_prices() -> dict[tuple[str, str], Price]:
    """All known prices, by provider and model."""
    sections = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    prices = [_read(section, row) for section in sections for row in section["models"]]
    return {(price.provider, price.model): price for price in prices}


def _read(section: dict[str, Any], row: dict[str, Any]) -> Price:
    shared = {name: value for name, value in section.items() if name != "models"}
    return msgspec.convert({**shared, **row}, Price)
