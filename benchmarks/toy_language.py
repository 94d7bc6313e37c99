"""A toy tokenizer and a toy language model: lossless, deterministic, computable by hand.

The local server answers with them, and a test computes what it must have answered.
Tokens are up to four ASCII letters with an optional space before them, or one character.
The probability of a token depends on the two tokens before it, through a hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

BOS = 1
EOS = 2
_PIECE = re.compile(r" ?[A-Za-z]{1,4}|.", re.DOTALL)


class Tokenizer(Protocol):
    """What the server needs of a tokenizer."""

    bos: int | None

    def encode(self, text: str) -> list[int]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...


class ToyTokenizer:
    """Packs a piece's bytes, after a leading 1, into its id: no vocabulary to keep."""

    bos: int | None = BOS

    def encode(self, text: str) -> list[int]:
        return [int.from_bytes(b"\x01" + piece.encode(), "big") for piece in _PIECE.findall(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self._piece(token) for token in tokens)

    def _piece(self, token: int) -> str:
        if token in (BOS, EOS):
            return ""
        return token.to_bytes((token.bit_length() + 7) // 8, "big")[1:].decode(errors="replace")


@dataclass(frozen=True)
class Prediction:
    """What the model says of one token: its log-probability, and whether it is the likeliest."""

    logprob: float
    greedy: bool

    @property
    def best_logprob(self) -> float:
        """The log-probability of the likeliest token."""
        return self.logprob if self.greedy else -0.3


def predict(before: Sequence[int], token: int) -> Prediction:
    """How likely `token` is after `before`: one in two is the likeliest (p > 0.5)."""
    context = ",".join(str(t) for t in [*before[-2:], token])
    draw = int.from_bytes(hashlib.blake2b(context.encode(), digest_size=7).digest(), "big") / 2**56
    if draw < 0.5:
        return Prediction(logprob=-0.01 - 1.3 * draw, greedy=True)
    return Prediction(logprob=-1.4 - 16 * (draw - 0.5), greedy=False)


def score(context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
    """log p(continuation | context), and whether every token of it is the likeliest."""
    tokens = list(context)
    predictions = []
    for token in continuation:
        predictions.append(predict(tokens, token))
        tokens.append(token)
    return sum(p.logprob for p in predictions), all(p.greedy for p in predictions)
