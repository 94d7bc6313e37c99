"""Calls of several requests, taken apart into what one request to the provider answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence

from evalkit.errors import ModelError
from evalkit.records import Request, Response

Answers = Sequence[Response | ModelError]


async def ask_in_groups(
    requests: Sequence[Request],
    together: Callable[[Request], Hashable | None],
    ask_group: Callable[[Sequence[Request]], Awaitable[Answers]],
) -> list[Response | ModelError]:
    """The answers to `requests`, in order, asked a group at a time.

    Raises:
        ModelError: A group failed as a whole, or the only request did.
    """
    groups: dict[tuple[str, Hashable], list[int]] = {}
    for place, request in enumerate(requests):
        key = together(request)
        name = ("alone", place) if key is None else ("together", key)
        groups.setdefault(name, []).append(place)
    answers: dict[int, Response | ModelError] = {}
    for places in groups.values():
        told = await ask_group([requests[place] for place in places])
        answers.update(zip(places, told, strict=True))
    if len(requests) == 1 and isinstance(only := answers[0], ModelError):
        raise only
    return [answers[place] for place in range(len(requests))]
