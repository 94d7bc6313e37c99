"""Which request fails, and how: a pure function of the seed, the request's body and its attempt.

A share of the *bodies* is hit, on their first `max_per_body` attempts, so that a client that
asks again recovers, and two runs against the same seed see the same failures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

KINDS = ("rate_limited", "server_error", "dropped", "hanging", "malformed")


@dataclass(frozen=True)
class Faults:
    """Shares (0 to 1) of request bodies that fail in each way; a share of 1 with a huge
    `max_per_body` never recovers."""

    rate_limited: float = 0.0
    server_error: float = 0.0
    dropped: float = 0.0
    hanging: float = 0.0
    malformed: float = 0.0
    seed: int = 0
    max_per_body: int = 1
    retry_after_s: float = 0.05

    @property
    def any(self) -> bool:
        """Whether anything can fail."""
        return any(getattr(self, kind) for kind in KINDS)

    def pick(self, digest: bytes, attempt: int) -> str:
        """The kind of failure of this attempt at a body, or an empty string."""
        if attempt >= self.max_per_body:
            return ""
        draw = _uniform(self.seed, digest, attempt)
        for kind in KINDS:
            share = getattr(self, kind)
            if draw < share:
                return kind
            draw -= share
        return ""


def _uniform(seed: int, digest: bytes, attempt: int) -> float:
    key = f"{seed}:{attempt}:".encode() + digest
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56
