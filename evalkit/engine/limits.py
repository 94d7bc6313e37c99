"""How fast a provider may be asked, and how many calls a model takes at once.

Both are learned while asking: from the user's settings, from the rate-limit headers that
providers send with every answer, and from refusals (429).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import numpy as np

from evalkit.engine.knee import KneeSearch
from evalkit.engine.rate_headers import read_rate_headers
from evalkit.engine.settings import EngineSettings

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 60.0
#: The longest pause taken from a header alone; a refusal with Retry-After may ask for more.
HEADER_PAUSE_CAP_S = 60.0
#: Refusals in a row for which a Retry-After alone says how long to wait.
TRUSTED_REFUSALS = 5
#: Refusals this close together are one event: limits are counted in seconds or minutes.
EPISODE_S = 1.0


def backoff_s(attempt: int, rng: np.random.Generator) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, full jitter.

    Full jitter (any time up to the bound) spreads retries best: Brooker, "Exponential
    Backoff And Jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    bound = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(attempt - 1, 32))
    return float(rng.uniform(0.0, bound))


class Bucket:
    """A token bucket: `per_minute` units flow in evenly; one second's worth may leave at once."""

    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._capacity = max(1.0, self._rate)
        self._level, self._at = self._capacity, now

    def take(self, units: float, now: float) -> float:
        """Take `units` and return the moment from which they may be used."""
        self._refill(now)
        # what is larger than the bucket leaves when that is full, and the next one waits longer
        missing = min(units, self._capacity) - self._level
        self._level -= units
        return now + max(0.0, missing / self._rate)

    def give_back(self, units: float, now: float) -> None:
        """Correct an estimate that was `units` too high (below 0: too low)."""
        self._refill(now)
        self._level = min(self._capacity, self._level + units)

    def _refill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now


class ProviderLimit:
    """Says when the next request to a provider may leave.

    Args:
        settings: Requests and tokens a minute, if the user sets them.
        rng: For jitter.
        clock: Monotonic seconds.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        settings: EngineSettings,
        rng: np.random.Generator,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rng, self._clock, self._sleep = rng, clock, sleep
        self._fixed = {
            "requests": settings.requests_per_minute,
            "tokens": settings.tokens_per_minute,
        }
        now = clock()
        self._buckets = {
            unit: Bucket(limit, now) for unit, limit in self._fixed.items() if limit is not None
        }
        self.paused_until = now
        self._streak, self._last_refusal = 0, float("-inf")

    @property
    def counts_tokens(self) -> bool:
        """Whether `admit` needs to know how many tokens a request is."""
        return "tokens" in self._buckets

    async def admit(self, requests: int, tokens: float) -> None:
        """Return when `requests` of together `tokens` may leave; first come, first served."""
        now = self._clock()
        ready = now
        for unit, amount in (("requests", requests), ("tokens", tokens)):
            if unit in self._buckets:
                ready = max(ready, self._buckets[unit].take(amount, now))
        while (wait := max(ready, self.paused_until) - self._clock()) > 0:
            await self._sleep(wait)

    def settle_tokens(self, estimated: float, used: float) -> None:
        """Correct the token count of a request, once its answer says what it took."""
        if bucket := self._buckets.get("tokens"):
            bucket.give_back(estimated - used, self._clock())

    def pause(self, seconds: float) -> None:
        """Let nothing leave for `seconds`."""
        self.paused_until = max(self.paused_until, self._clock() + seconds)

    def refused(self, sent_at: float, retry_after_s: float | None) -> None:
        """Take in that a request sent at `sent_at` was refused for asking too fast."""
        if retry_after_s is not None:
            self.pause(retry_after_s)
        if sent_at < self._last_refusal:
            return  # refused together with others: one event
        self._streak += 1
        self._last_refusal = self._clock()
        # a provider that says "at once" and refuses again and again is not believed for ever
        grounds = self._streak if retry_after_s is None else self._streak - TRUSTED_REFUSALS
        if grounds > 0:
            self.pause(backoff_s(grounds, self._rng))

    def answered(self, headers: Mapping[str, str] | None) -> None:
        """Take in an answer and the rate-limit headers that came with it."""
        self._streak = 0
        if not headers:
            return
        for window in read_rate_headers(headers, time.time):
            self._learn(window.unit, window.per_minute)
            if window.remaining is not None and window.remaining <= 0 and window.reset_s:
                self.pause(min(window.reset_s, HEADER_PAUSE_CAP_S))

    def _learn(self, unit: str, limit: float | None) -> None:
        known = self._buckets.get(unit)
        if limit is None or self._fixed[unit] is not None:
            return
        if known is None or known.per_minute < limit:
            self._buckets[unit] = Bucket(limit, self._clock())


class ConcurrencyLimit:
    """How many calls a model takes at once: less after a refusal, slowly more after answers.

    Args:
        ceiling: Calls in flight while nothing is refused; with a `knee`, to begin with.
        knee: Finds the ceiling while answers arrive; None keeps it as it is.
        clock: Monotonic seconds.
    """

    def __init__(
        self, ceiling: int, knee: KneeSearch | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        self.ceiling, self.knee, self._clock = ceiling, knee, clock
        self._limit = float(ceiling)
        self._cut_at = float("-inf")

    @property
    def value(self) -> int:
        """Calls that may be in flight now; at least 1."""
        return int(self._limit)

    def measure(self, sent_at: float, waiting: bool) -> bool:
        """Let the knee be sought with an answer; whether it has just been found.

        Args:
            sent_at: When the answered call left.
            waiting: Whether more calls waited than could leave.
        """
        if self.knee is None:
            return False
        found = self.knee.answered(self._clock(), sent_at, waiting)
        if self.knee.calls != self.ceiling:
            self.ceiling = self.knee.calls
            self._limit = float(self.ceiling)
        return found

    def refused(self, sent_at: float) -> None:
        """Cut by 30%, once for all that was in flight together."""
        now = self._clock()
        if sent_at < self._cut_at or now - self._cut_at < EPISODE_S:
            return
        if self.knee is not None:
            self.knee.refused(now)
        self._limit = max(1.0, self._limit * 0.7)
        self._cut_at = now

    def answered(self) -> None:
        """Grow by a twentieth of the ceiling for every round of answers."""
        growth = max(1.0, self.ceiling / 20)
        self._limit = min(float(self.ceiling), self._limit + growth / self._limit)
