"""How many samples are alive at once: enough to keep the model busy, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from evalkit.records import Request

#: Samples built ahead beyond what the model takes at once, and how many characters of prompts
#: may be alive for that: ten prompts of 128K tokens in flight are not joined by fifty that wait.
AHEAD, AHEAD_CHARACTERS = 32, 4_000_000


class Window:
    """Room for samples; whoever builds them waits until there is some.

    Args:
        busy: How many samples keep the model busy now.
    """

    def __init__(self, busy: Callable[[], int]) -> None:
        self._busy = busy
        self._alive = self._characters = 0
        self._room: asyncio.Future[None] | None = None

    async def enter(self, characters: int) -> Place:
        """A place for one more sample, when there is room; one caller at a time.

        Args:
            characters: Length of the sample's prompts.
        """
        while not self._fits(characters):
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        self._alive += 1
        self._characters += characters
        return Place(self, characters)

    def _fits(self, characters: int) -> bool:
        busy = max(1, self._busy())
        if self._alive < busy:
            return True
        few = self._characters + characters <= AHEAD_CHARACTERS
        return few and self._alive < 2 * busy + AHEAD

    def leave(self, characters: int) -> None:
        """Take in that a sample has ended."""
        self._alive -= 1
        self._characters -= characters
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


class Place:
    """A sample's place in the window, given up once."""

    __slots__ = ("_characters", "_window")

    def __init__(self, window: Window, characters: int) -> None:
        self._window: Window | None = window
        self._characters = characters

    def leave(self) -> None:
        """Give it up, if that was not done before."""
        window, self._window = self._window, None
        if window is not None:
            window.leave(self._characters)


def prompt_characters(requests: Sequence[Request]) -> int:
    """The length of the prompts of `requests`; one that several of them share counts once."""
    prompts = {id(request.prompt): request.prompt for request in requests}
    return sum(
        len(prompt) if isinstance(prompt, str) else sum(len(turn.content) for turn in prompt)
        for prompt in prompts.values()
    )
