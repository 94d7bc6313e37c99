"""A toy tokenizer and a toy language model: lossless, deterministic, computable by hand.

The local server answers with them, and a test computes what it must have answered.
Tokens are up to four ASCII letters with an optional space before them, or one character.
The probability of a token depends on the two tokens before it, through a hash. The likeliest
one has more than a half; the others do not add up to the rest.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
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


class FolderTokenizer:
    """The tokenizer of a transformers folder, for clients that bring the same one."""

    def __init__(self, folder: str) -> None:
        from tokenizers import Tokenizer as Fast

        self._fast = Fast.from_file(str(Path(folder) / "tokenizer.json"))
        self.bos: int | None = None

    def encode(self, text: str) -> list[int]:
        return self._fast.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Sequence[int]) -> str:
        return self._fast.decode(list(tokens), skip_special_tokens=False)


@dataclass(frozen=True)
class Prediction:
    """What the model says of one token: its log-probability, and whether it is the likeliest."""

    logprob: float
    greedy: bool


@dataclass(frozen=True)
class Language:
    """A language model over a tokenizer's ids: any id has a probability, few are listed.

    Args:
        favourites: One of these is the likeliest token, whatever came before (p > 0.5), and
            all of them are likelier than any other token.
        vocabulary: What is listed when the likeliest tokens are asked for.
    """

    favourites: tuple[int, ...]
    vocabulary: tuple[int, ...]

    def favourite(self, before: Sequence[int]) -> int:
        """The likeliest token after `before`."""
        return self.favourites[_context(tuple(before[-2:])) % len(self.favourites)]

    def predict(self, before: Sequence[int], token: int) -> Prediction:
        """How likely `token` is after `before`."""
        context = _context(tuple(before[-2:]))
        greedy = token == self.favourites[context % len(self.favourites)]
        return Prediction(logprob=self._logprob(context, token), greedy=greedy)

    def _logprob(self, context: int, token: int) -> float:
        # one multiplication mixes well enough for a toy, and is fast where many are listed
        mixed = ((context ^ (token * 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        draw = (mixed >> 11) / 2**53
        if token == self.favourites[context % len(self.favourites)]:
            return -0.01 - 0.65 * draw
        return -1.4 - 4 * draw if token in self.favourites else -5.5 - 4 * draw

    def top(self, before: Sequence[int], most: int) -> list[tuple[float, int]]:
        """The `most` likeliest tokens of the vocabulary after `before`, best first."""
        context = _context(tuple(before[-2:]))
        best = self.favourites[context % len(self.favourites)]
        few = (best,) if most == 1 else self.favourites if most <= len(self.favourites) else None
        tokens = self.vocabulary if few is None else few
        listed = [(self._logprob(context, token), token) for token in tokens]
        return sorted(listed, reverse=True)[:most]

    def score(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
        """log p(continuation | context), and whether every token of it is the likeliest."""
        tokens = list(context)
        predictions = []
        for token in continuation:
            predictions.append(self.predict(tokens, token))
            tokens.append(token)
        return sum(p.logprob for p in predictions), all(p.greedy for p in predictions)


@lru_cache(maxsize=1 << 16)
def _context(before: tuple[int, ...]) -> int:
    text = ",".join(map(str, before))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


@lru_cache(maxsize=8)
def language_of(tokenizer: Tokenizer) -> Language:
    """The language over a tokenizer's ids; letters as choices name them are its favourites."""
    texts = [*(f" {letter}" for letter in "ABCD"), *"ABCD"]
    favourites = tuple(dict.fromkeys(tokenizer.encode(text)[-1] for text in texts))
    printable = [*string.digits, *string.ascii_letters, *string.punctuation]
    printable += [f" {letter}" for letter in string.ascii_letters]
    own: tuple[int, ...] = getattr(tokenizer, "listed", ())
    listed = [tokenizer.encode(text)[-1] for text in printable]
    return Language(favourites, tuple(dict.fromkeys([*favourites, *listed, *own])))


#: The language over the toy tokenizer's ids.
TOY_LANGUAGE = language_of(ToyTokenizer())


def score(context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
    """What the toy tokenizer's language says; see `Language.score`."""
    return TOY_LANGUAGE.score(context, continuation)
