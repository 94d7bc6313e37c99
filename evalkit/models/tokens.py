"""How texts become the token ids that are scored: pairs of context and continuation, windows.

The rules are those of lm-eval 0.4.13 (https://github.com/EleutherAI/lm-evaluation-harness),
so that log-likelihoods are comparable with published ones:

- A text that begins with the tokenizer's prefix token (BOS, else EOS), as a rendered chat
  template often does, gets no special tokens; any other text gets the tokenizer's own.
- White space at the end of a context belongs to the continuation, and the continuation is what
  the tokens of both together have beyond the context's: words keep the tokens they have in
  running text.
- An empty context is the prefix token alone.
- A long text is scored in windows, each token once, the first one after the prefix token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.models.token_lines import LineTokens

#: Token ids of a context and of its continuation.
Pair = tuple[list[int], list[int]]


class TextTokenizer:
    """A Hugging Face tokenizer under the rules above.

    Args:
        tokenizer: The `transformers` tokenizer.
        add_bos: Whether texts get the tokenizer's special tokens; None leaves it to the tokenizer.
    """

    def __init__(self, tokenizer: Any, add_bos: bool | None = None) -> None:
        self.tokenizer, self.add_bos = tokenizer, add_bos
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        #: What stands for an empty context: BOS, else EOS, else None.
        self.prefix_token: int | None = next((i for i in ids if i is not None), None)
        self._prefix_text: str | None = (
            None if self.prefix_token is None else tokenizer.decode(self.prefix_token)
        )
        self._lines = LineTokens(tokenizer)
        self._start = self._special_start() if self._lines.by_lines else None

    def encode(self, text: str) -> list[int]:
        """The ids of a text that is scored."""
        return self._encode(text, self._prefix_text)

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of a text that is to be continued: only BOS itself counts as a prefix here."""
        return self._encode(text, self.tokenizer.bos_token)

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text without special tokens."""
        return self._lines.encode(text)

    def pair(self, context: str, continuation: str) -> Pair:
        """The ids of a context and its continuation.

        Raises:
            ValueError: There is nothing to score, or nothing to score it after.
        """
        [pair] = self.pairs(context, (continuation,))
        if isinstance(pair, ValueError):
            raise pair
        return pair

    def pairs(self, context: str, continuations: Sequence[str]) -> list[Pair | ValueError]:
        """The ids of a context and each of its continuations: the context is encoded once.

        Where there is nothing to score, or nothing to score it after, the error stands instead.
        """
        kept = context.rstrip()
        context_ids = self.encode(kept) if kept else []
        found: list[Pair | ValueError] = []
        for continuation in continuations:
            whole = context + continuation
            try:
                if kept:
                    found.append(_checked(context_ids, self.encode(whole)[len(context_ids) :]))
                else:
                    found.append(self._first_pair(whole))
            except ValueError as error:
                found.append(error)
        return found

    def windows(self, text: str, max_length: int) -> list[Pair]:
        """The windows in which a text is scored; none where it is empty.

        Raises:
            ValueError: The tokenizer has neither a BOS nor an EOS token to begin with.
        """
        return rolling_windows(self.encode(text), self._prefix(), max_length)

    def _encode(self, text: str, prefix: str | None) -> list[int]:
        if prefix is not None and text.startswith(prefix):
            return self.encode_plain(text)
        if self._start is not None:
            return self._start + self._lines.encode(text)
        return self._with_special(text)

    def _with_special(self, text: str) -> list[int]:
        special = {} if self.add_bos is None else {"add_special_tokens": self.add_bos}
        ids: list[int] = self.tokenizer.encode(text, **special)
        return ids

    def _special_start(self) -> list[int] | None:
        """The special tokens that a text gets; None where not all of them stand before it."""
        whole, plain = self._with_special("a"), self.encode_plain("a")
        start = whole[: len(whole) - len(plain)]
        return start if whole == start + plain else None

    def _first_pair(self, continuation: str) -> Pair:
        ids = self.encode_plain(continuation)
        prefix = self._prefix()
        if ids and ids[0] == prefix:
            return _checked(ids[:1], ids[1:])
        return _checked([prefix], ids)

    def _prefix(self) -> int:
        if self.prefix_token is None:
            raise ValueError("the tokenizer has no BOS or EOS token to stand for an empty context")
        return self.prefix_token


def _checked(context: list[int], continuation: list[int]) -> Pair:
    if not continuation:
        raise ValueError("the continuation has no tokens of its own, so there is nothing to score")
    return context, continuation


def rolling_windows(tokens: Sequence[int], prefix: int, max_length: int) -> list[Pair]:
    """The windows that score every token once, each with as much context as fits.

    The first window predicts the first `max_length` tokens after `prefix`. Each later one
    predicts up to `max_length` new tokens and is filled up with the tokens before them.

    Args:
        tokens: The text.
        prefix: What the first token is conditioned on.
        max_length: The model's context length.
    """
    first = min(max_length, len(tokens))
    windows = [([prefix], list(tokens[:first]))] if first else []
    for start in range(first, len(tokens), max_length):
        end = min(start + max_length, len(tokens))
        windows.append((list(tokens[end - max_length - 1 : start]), list(tokens[start:end])))
    return windows
