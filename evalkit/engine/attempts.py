"""One attempt at a model: within its deadline, and with nothing taken on trust."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from evalkit.engine.journal import ANSWERED
from evalkit.errors import TransientError
from evalkit.models.protocol import Model
from evalkit.records import Request, Response


class Attempts:
    """Calls one model; a call takes at most `deadline_s` for each of its requests."""

    def __init__(self, model: Model, deadline_s: float | None) -> None:
        self._model, self._deadline_s = model, deadline_s
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def ask(self, requests: Sequence[Request]) -> Sequence[Response]:
        """What the model says to `requests`, one response each.

        Raises:
            TransientError: The deadline passed.
            TypeError: The adapter did not return one response a request.
            Exception: What the adapter raised.
        """
        seconds = None if self._deadline_s is None else self._deadline_s * len(requests)
        call = asyncio.ensure_future(self._model.ask(requests))
        try:
            done, _ = await asyncio.wait((call,), timeout=seconds)
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        if not done:
            self._abandon(call)
            cause = TimeoutError()
            raise TransientError(f"no answer within the deadline of {seconds:g} s") from cause
        if call.cancelled():
            raise RuntimeError("the adapter cancelled its own call")
        return check_responses(requests, call.result())

    def _abandon(self, call: asyncio.Future[Any]) -> None:
        """Cancel a call without waiting: an adapter that ignores it must not hold us."""
        self._abandoned.add(call)
        call.add_done_callback(self._retrieve)
        call.cancel()

    def _retrieve(self, call: asyncio.Future[Any]) -> None:
        self._abandoned.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that asyncio does not report it as lost


def check_responses(requests: Sequence[Request], responses: object) -> Sequence[Response]:
    """What the adapter returned, if it is one response a request.

    Raises:
        TypeError: It is not: a mistake in the adapter that no repetition mends.
    """
    if not isinstance(responses, Sequence):
        raise TypeError(f"the adapter returned {type(responses).__name__}, not a sequence")
    if len(responses) != len(requests):
        raise TypeError(
            f"the adapter returned {len(responses)} responses for {len(requests)} requests"
        )
    for response in responses:
        if not isinstance(response, Response):
            name = type(response).__name__
            raise TypeError(f"the adapter returned {name} where a Response belongs")
    return responses


def answer_problem(response: Response) -> str | None:
    """Why `response` cannot be an answer, though the adapter says it is."""
    if response.status not in ANSWERED:
        return f"the adapter gave the status {response.status!r}, which is not a model's"
    if response.logprob is not None and not math.isfinite(response.logprob):
        return f"the log-likelihood is {response.logprob}, which is no number to compare"
    return None
