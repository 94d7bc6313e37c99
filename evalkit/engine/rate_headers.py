"""What providers say of their limits with every answer.

OpenAI's names: https://platform.openai.com/docs/guides/rate-limits (x-ratelimit-limit-requests,
-remaining-requests, -reset-requests as a duration such as 6m0s, the same for tokens).
Anthropic's: https://docs.anthropic.com/en/api/rate-limits (anthropic-ratelimit-requests-limit,
-remaining, -reset as an RFC 3339 time, the same for tokens, input-tokens and output-tokens).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Literal

from evalkit.records import Record

Unit = Literal["requests", "tokens"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class RateWindow(Record, frozen=True, kw_only=True):
    """What one set of headers says: the limit, what is left of it, seconds until it is full."""

    unit: Unit
    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None

    @property
    def per_minute(self) -> float | None:
        """Units that flow in a minute; None where the headers do not say.

        Most limits are a minute's. Where enough of one is used to tell, the time until it is
        full shows those of a second: taken for a minute's, they would slow a run by sixty.
        """
        if not self.limit or self.reset_s is None:
            return None
        used = self.limit - (self.limit if self.remaining is None else self.remaining)
        if self.reset_s > 0 and used > 0.05 * self.limit:
            return max(self.limit, 60 * used / self.reset_s)
        return self.limit


def read_rate_headers(headers: Mapping[str, str], now: Callable[[], float]) -> Iterator[RateWindow]:
    """The windows that `headers` describe; `now` gives seconds since 1970."""
    lower = {name.lower(): value for name, value in headers.items()}
    for unit in ("requests", "tokens"):
        names = [f"x-ratelimit-{part}-{unit}" for part in ("limit", "remaining", "reset")]
        yield from _window(unit, names, lower, now)
        names = [f"anthropic-ratelimit-{unit}-{part}" for part in ("limit", "remaining", "reset")]
        yield from _window(unit, names, lower, now)


def _window(
    unit: Unit, names: list[str], headers: Mapping[str, str], now: Callable[[], float]
) -> Iterator[RateWindow]:
    limit, remaining, reset = (headers.get(name, "") for name in names)
    if limit or remaining:
        yield RateWindow(
            unit=unit,
            limit=_number(limit),
            remaining=_number(remaining),
            reset_s=reset_seconds(reset, now),
        )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def reset_seconds(text: str, now: Callable[[], float]) -> float | None:
    """Seconds until a reset, written as seconds, a duration (`1m30s`) or an RFC 3339 time."""
    text = text.strip()
    if (plain := _number(text)) is not None:
        return plain
    if text and not _DURATION.sub("", text):
        return sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(text))
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now()) if moment.tzinfo else None
