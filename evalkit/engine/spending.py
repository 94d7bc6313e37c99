"""What a run has cost, and whether the next request still fits under the user's limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit.engine.tally import Tally
from evalkit.engine.tokens import expected_output, input_tokens
from evalkit.errors import StoppedError
from evalkit.models.protocol import Grouping, Model
from evalkit.records import Request, Usage

#: US dollars for what an answer used; None where the price is not known.
Price = Callable[[Model, Usage], float | None]


class Spending:
    """Adds up the cost of answers, and sets money aside for requests in flight.

    The limit covers the whole run folder: what the journal holds was paid for by earlier
    processes of the same run, so it counts as well.
    """

    def __init__(self, price: Price | None, max_cost: float | None) -> None:
        self._price, self._max_cost = price, max_cost
        self.total = 0.0
        self._reserved = 0.0

    def add(self, model: Model, tally: Tally, usage: Usage) -> None:
        """Count a new answer."""
        tally.usage += usage
        cost = self._cost(model, usage)
        if cost is not None:
            tally.cost = (tally.cost or 0.0) + cost
            self.total += cost

    def add_journaled(self, model: Model, tally: Tally, usage: Usage) -> None:
        """Count what earlier processes of the same run paid for."""
        tally.journal_usage += usage
        cost = self._cost(model, usage)
        if cost is not None:
            tally.journal_cost = (tally.journal_cost or 0.0) + cost
            self.total += cost

    def _cost(self, model: Model, usage: Usage) -> float | None:
        return self._price(model, usage) if self._price else None

    def reserve(self, model: Model, tally: Tally, requests: Sequence[Request]) -> float:
        """Set aside what `requests`, one call, will likely cost.

        Raises:
            StoppedError: That would pass the limit.
        """
        if self._max_cost is None or self._price is None:
            return 0.0
        shared = isinstance(model, Grouping)
        likely = sum(
            self._likely_cost(model, tally, request, prompt_sent=shared and place > 0)
            for place, request in enumerate(requests)
        )
        if likely and self.total + self._reserved + likely > self._max_cost:
            raise StoppedError(
                f"The next request could pass the cost limit of {self._max_cost:g} USD "
                f"({self.total:.4f} USD spent); raise it and run again to go on"
            )
        self._reserved += likely
        return likely

    def release(self, reserved: float) -> None:
        """Give back what was set aside, once the request has ended either way."""
        self._reserved = max(0.0, self._reserved - reserved)

    def _likely_cost(
        self, model: Model, tally: Tally, request: Request, *, prompt_sent: bool
    ) -> float:
        mean = tally.usage.output_tokens / tally.answered if tally.answered else None
        usage = Usage(
            input_tokens=input_tokens(model, request, prompt_sent=prompt_sent),
            output_tokens=round(expected_output(model, request, mean)),
        )
        return self._cost(model, usage) or 0.0
