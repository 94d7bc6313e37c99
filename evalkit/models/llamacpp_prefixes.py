"""Who waits for whom, so that a beginning which several prompts share is computed once.

A server with several slots keeps what it computed for a prompt once that is answered. Two
prompts with the same beginning that arrive together both compute it; if one waits for the other,
it finds it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from evalkit.records import Request, canonical

#: What must be gained for a request to wait, in characters: about 64 tokens.
_WORTH = 256
#: Answered prompts that are remembered.
_REMEMBERED = 32


class Turn:
    """A prompt that is being answered; `awaited` says whether another waits for its end."""

    __slots__ = ("awaited", "ended", "prompt")

    def __init__(self, prompt: bytes) -> None:
        self.prompt, self.awaited, self.ended = prompt, False, asyncio.Event()


class Prefixes:
    """Prompts being answered, and the last that were."""

    def __init__(self) -> None:
        self._running: list[Turn] = []
        self._answered: deque[bytes] = deque(maxlen=_REMEMBERED)

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[Turn]:
        """Wait while a prompt is being answered that shares far more than all answered ones."""
        turn = Turn(prompt_bytes(request))
        while ahead := self._ahead_of(turn.prompt):
            ahead.awaited = True
            await ahead.ended.wait()
        self._running.append(turn)
        try:
            yield turn
            self._answered.append(turn.prompt)
        finally:
            self._running.remove(turn)
            turn.ended.set()

    def _ahead_of(self, prompt: bytes) -> Turn | None:
        """The running turn that is worth waiting for."""
        shared = {turn: shared_length(turn.prompt, prompt) for turn in self._running}
        ahead = max(shared, key=shared.__getitem__, default=None)
        if ahead is None:
            return None
        cached = max((shared_length(other, prompt) for other in self._answered), default=0)
        return ahead if shared[ahead] - cached >= _WORTH else None


def prompt_bytes(request: Request) -> bytes:
    """What a request's prompt is compared by: it begins as the model's input begins."""
    if isinstance(request.prompt, str):
        return request.prompt.encode()
    return canonical([request.tools, request.prompt])


def shared_length(first: bytes, second: bytes) -> int:
    """How many bytes two prompts have in common at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # halving: comparing slices is far faster than a loop over bytes
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
