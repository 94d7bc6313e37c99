"""Several answers to one prompt in one request, where the provider has `n`.

Requests that differ in `repeat` alone are drawn together. One with a seed is not: with `n`,
servers give each choice a seed of its own (vLLM adds the choice's number), and alone each has
the seed that was asked for. Nor is a greedy one, whose answers are all the same.

References: `n` of https://platform.openai.com/docs/api-reference/chat/create and of vLLM's
sampling parameters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

import msgspec

from evalkit.errors import LeftOutError, ModelError, RequestError
from evalkit.records import Request, Response, Usage, canonical

#: OpenAI's bound.
MOST = 128

#: Sends a request so that it gets so many answers; may return fewer.
Send = Callable[[Request, int], Awaitable[Sequence[Response | ModelError]]]


class Draws:
    """How many answers one request may ask one provider for: learned while asking.

    Args:
        extra: Fields that go with every request; where they set `n`, it is left alone.
    """

    def __init__(self, extra: dict[str, Any]) -> None:
        self.most = 1 if "n" in extra else MOST
        self._seeded = extra.get("seed") is not None
        self._greedy = extra.get("temperature") == 0

    def key(
        self, request: Request, *, temperature: float | None, seed: int | None
    ) -> Hashable | None:
        """What requests have in common that can be drawn together; None: this one cannot.

        Args:
            request: What is asked.
            temperature: The one that will be sent.
            seed: The one that will be sent.
        """
        if self.most == 1 or seed is not None or temperature == 0 or self._seeded or self._greedy:
            return None
        tools = canonical(request.tools) if request.tools else b""
        return (request.prompt, request.sampling, tools)

    async def ask(self, requests: Sequence[Request], send: Send) -> list[Response | ModelError]:
        """The answers to requests of one key; what a request cannot be asked for is left out.

        Raises:
            ModelError: The attempt failed.
        """
        asked, answers = await self._send(requests[0], min(len(requests), self.most), send)
        given = with_surplus(answers, len(requests))
        if len(given) < asked:
            self.most = min(self.most, max(1, len(given)))
        rest = len(requests) - len(given)
        return given + [LeftOutError("The provider gave fewer choices") for _ in range(rest)]

    async def _send(
        self, request: Request, number: int, send: Send
    ) -> tuple[int, Sequence[Response | ModelError]]:
        """How many answers were asked for in the end, and they: one where `number` is refused."""
        try:
            return number, await send(request, number)
        except RequestError as refused:
            if number == 1:
                raise
            try:
                one = await send(request, 1)
            except RequestError:
                # it was not the number: each of them is refused for the same
                return number, [refused] * number
            self.most = min(self.most, number // 2)
            return 1, one


def with_surplus(
    answers: Sequence[Response | ModelError], wanted: int
) -> list[Response | ModelError]:
    """The first `wanted` answers; what others used, if more came, stands with the first."""
    kept = list(answers[:wanted])
    used = sum((one.usage for one in answers[wanted:] if isinstance(one, Response)), Usage())
    if used != Usage() and isinstance(first := kept[0], Response):
        kept[0] = msgspec.structs.replace(first, usage=first.usage + used)
    return kept
