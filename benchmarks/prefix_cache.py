"""Which part of a prompt a server with a prefix cache would not compute again."""

from __future__ import annotations

from collections.abc import Sequence

#: vLLM's default: a prefix is kept in blocks of so many tokens.
BLOCK = 16


class PrefixCache:
    """Remembers every prefix that it was shown, in whole blocks; nothing is ever evicted."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def read(self, prompt: Sequence[object]) -> int:
        """How long a prefix of `prompt` was known; all of it is known from now on."""
        chain, known, hitting = 0, 0, True
        for end in range(BLOCK, len(prompt) + 1, BLOCK):
            chain = hash((chain, tuple(prompt[end - BLOCK : end])))
            hitting = hitting and chain in self._seen
            known = end if hitting else known
            self._seen.add(chain)
        # the last token is always computed: what follows it is what was asked for
        return min(known, len(prompt) - 1)
