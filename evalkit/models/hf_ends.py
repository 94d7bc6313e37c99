"""Where answers end, and how their text is cut, as lm-eval 0.4.13 does it.

A row ends at an end-of-sequence token of the model, when a stop string appears in its text, or
at its token limit; its text is then cut before the first stop string, of which the tokenizer's
end-of-sequence text is always one. Special tokens do not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.records import Sampling


class Prompt(NamedTuple):
    """What one row starts from: tokens, the most that it may add, and the seed of its draws."""

    ids: list[int]
    room: int
    sampling: Sampling
    seed: int


class Answer(NamedTuple):
    """What one row came to; `finished` is False where the token limit ended it."""

    text: str
    tokens: int
    finished: bool


class Ends:
    """What ends an answer.

    Args:
        tokenizer: The model's.
        wanted: The request's stop strings.
        defaults: The model's `GenerationConfig`.

    Attributes:
        tokens: The model's end-of-sequence tokens.
        stops: The stop strings, the tokenizer's end-of-sequence text among them.
    """

    def __init__(self, tokenizer: Any, wanted: Sequence[str], defaults: Any) -> None:
        self.tokenizer = tokenizer
        self.stops = _stops(tokenizer, wanted)
        self.tokens = _end_tokens(defaults.eos_token_id)
        sizes = [len(tokenizer.encode(stop, add_special_tokens=False)) for stop in self.stops]
        #: A stop string can be written with other tokens than the tokenizer's own.
        self.lookback = max(sizes, default=0) + 2

    def stops_in(self, written: Sequence[int]) -> bool:
        """Whether a stop string is in the last tokens of what was written."""
        if not self.stops:
            return False
        text = self.tokenizer.decode(written[-self.lookback :])
        return any(stop in text for stop in self.stops)

    def read(self, tokens: Sequence[int], stopped_at: int | None) -> Answer:
        """The answer in tokens, which a stop string ended after `stopped_at` of them, or none."""
        tokens = tokens[:stopped_at]
        end = next((i + 1 for i, token in enumerate(tokens) if token in self.tokens), None)
        tokens = tokens[:end]
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        cut = cut_at_stops(text, self.stops)
        finished = stopped_at is not None or end is not None or cut != text
        return Answer(cut, len(tokens), finished)


def cut_at_stops(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


def _stops(tokenizer: Any, wanted: Sequence[str]) -> list[str]:
    end = tokenizer.eos_token_id
    own = [] if end is None else [tokenizer.decode(end, skip_special_tokens=False)]
    return [stop for stop in dict.fromkeys([*wanted, *own]) if stop]


def _end_tokens(ids: int | Sequence[int] | None) -> frozenset[int]:
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
