"""What the local server counts, and what `GET /_stats` says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_COUNTS = (
    *("received", "answered", "other", "in_flight", "max_in_flight", "connections"),
    *("bytes_in", "bytes_out", "first_request", "last_answer"),
)


@dataclass
class Stats:
    """The counters. Requests to /v1/models, /tokenize and /_stats are counted apart (`other`).

    Args:
        bytes_in: Of all requests but those to /_stats, heads included.
        bytes_out: Of everything that was sent, heads included.
        first_request: Seconds since 1970 when the first counted request arrived; 0 before.
        last_answer: Seconds since 1970 when the last counted one ended; 0 before.
        busy: The sum over time of the requests in flight, in requests x seconds.
    """

    received: int = 0
    answered: int = 0
    other: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    first_request: float = 0.0
    last_answer: float = 0.0
    busy: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    log: list[Any] = field(default_factory=list)
    last_headers: dict[str, str] = field(default_factory=dict)
    _changed: float = 0.0

    def begin(self, now: float) -> None:
        """One more request is in flight, at `now` seconds since 1970."""
        self.received += 1
        self.busy += self.in_flight * (now - self._changed)
        self._changed = now
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:
            self.max_in_flight = self.in_flight
        if not self.first_request:
            self.first_request = now

    def end(self, now: float) -> None:
        """One of them has been answered, or was made to fail."""
        self.busy += self.in_flight * (now - self._changed)
        self._changed = self.last_answer = now
        self.in_flight -= 1

    @property
    def mean_in_flight(self) -> float:
        """Requests in flight on average, from the first request to the last answer."""
        seconds = self.last_answer - self.first_request
        return self.busy / seconds if seconds > 0 else 0.0

    def reset(self) -> None:
        """Start counting again; what is in flight stays in flight."""
        fresh = Stats(in_flight=self.in_flight, _changed=self._changed)
        self.__dict__.update(fresh.__dict__)

    def summary(self, with_bodies: bool) -> dict[str, Any]:
        """The counters as plain JSON; bodies only by their hashes, and only if asked for."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in _COUNTS}
        counts["mean_in_flight"] = round(self.mean_in_flight, 3)
        counts["faults"] = dict(self.faults)
        counts["unique_bodies"] = len(self.bodies)
        counts["repeated_bodies"] = sum(count > 1 for count in self.bodies.values())
        return counts | ({"bodies": dict(self.bodies)} if with_bodies else {})
