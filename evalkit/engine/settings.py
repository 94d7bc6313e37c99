"""What a user can set about how models are asked."""

from __future__ import annotations

import msgspec

from evalkit.errors import InputError
from evalkit.records import Record

#: Seconds one attempt may take where neither the user nor the model says otherwise.
DEADLINE_S = 300.0


class Rates(Record, frozen=True, kw_only=True):
    """Limits of one provider that the user knows; None learns them from its headers."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


class EngineSettings(Record, frozen=True, kw_only=True):
    """How fast, how patiently and how expensively models are asked.

    Args:
        concurrency: Calls in flight per model; None takes `model.concurrency`.
        max_attempts: Attempts a request; refusals for asking too fast do not count.
        deadline_s: Seconds one attempt may take; None takes the model's own `deadline_s`
            (None there: no deadline), else 300.
        patience_s: Seconds that a request may spend on refusals for asking too fast.
        requests_per_minute: Limit a provider; None learns it from the provider's headers.
        tokens_per_minute: Limit a provider; None learns it from the provider's headers.
        rates: Limits of single providers, by `model.provider`; they win over the common ones.
        max_cost: US dollars after which no new request leaves.
        seed: For the jitter of waits.
        grace_s: Seconds that requests in flight have to finish after the first Ctrl-C.
        scoring_s: Seconds that one sample's scoring may take in a process of its own.
    """

    concurrency: int | None = None
    max_attempts: int = 8
    deadline_s: float | None = None
    patience_s: float = 1800.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    rates: dict[str, Rates] = {}
    max_cost: float | None = None
    seed: int = 1234
    grace_s: float = 5.0
    scoring_s: float = 60.0

    def for_provider(self, provider: str) -> EngineSettings:
        """These settings with the provider's own limits in place of the common ones."""
        own = self.rates.get(provider)
        if own is None:
            return self
        return msgspec.structs.replace(
            self,
            requests_per_minute=own.requests_per_minute or self.requests_per_minute,
            tokens_per_minute=own.tokens_per_minute or self.tokens_per_minute,
        )

    def __post_init__(self) -> None:
        """Refuse what would never send a request.

        Raises:
            InputError: A number that must be above 0 is not.
        """
        for name in self.__struct_fields__:
            if name == "rates":
                continue
            value = getattr(self, name)
            least = 0 if name in ("seed", "grace_s", "max_cost") else None
            if value is None or (value >= 0 if least == 0 else value > 0):
                continue
            wanted = "0 or more" if least == 0 else "above 0"
            raise InputError(f"The engine's {name} must be {wanted}, not {value!r}")
