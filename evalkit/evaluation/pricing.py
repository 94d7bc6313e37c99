"""What answers cost: prices from the config, else the known ones."""

from __future__ import annotations

from collections.abc import Callable

from evalkit.config.run_config import ModelEntry
from evalkit.evaluation.plan import Plan
from evalkit.models.prices import Price, cost, price_of
from evalkit.models.protocol import Model
from evalkit.records import Usage


def price_function(plan: Plan) -> Callable[[Model, Usage], float | None]:
    """US dollars of a model's usage; None where no price is known."""
    prices = {member.model.name: _price(member.entry) for member in plan.members}

    def price(model: Model, usage: Usage) -> float | None:
        known = prices[model.name]
        return None if known is None else cost(known, usage)

    return price


def _price(entry: ModelEntry) -> Price | None:
    spec = entry.spec()
    if entry.input_price is None and entry.output_price is None:
        return price_of(spec.provider, spec.name)
    return Price(
        provider=spec.provider,
        model=spec.name,
        input=entry.input_price or 0.0,
        output=entry.output_price or 0.0,
        source="the run's config",
    )
