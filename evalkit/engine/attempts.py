"""One attempt at a model: within its deadline, and with nothing taken on trust."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from evalkit.engine.journal import ANSWERED
from evalkit.errors import LeftOutError, ModelError, TransientError
from evalkit.models.protocol import Grouping, Model
from evalkit.records import Request, Response

#: So many answers must be known before a slow one looks like one that never comes.
ENOUGH_ANSWERS = 20
#: How many times longer than the slowest answer so far that is.
FAR_SLOWER = 10.0


class Attempts:
    """Calls one model; a call takes at most `deadline_s` for each of its requests.

    Where the adapter says which requests belong together, a call of several is one request to
    the provider, and has the deadline of one.

    Some servers lose a request now and then and never answer it. Where asking again costs
    nothing (`model.suspect_after_s`), an attempt that takes ten times as long as the slowest
    answer so far, and at least that long, is given up early; the next one of the same request
    may take twice as long, and so on up to the deadline.
    """

    def __init__(self, model: Model, deadline_s: float | None) -> None:
        self._model, self._deadline_s = model, deadline_s
        self._suspect_after_s: float | None = getattr(model, "suspect_after_s", None)
        self._grouping = isinstance(model, Grouping)
        self._answered, self._slowest_s = 0, 0.0
        self._abandoned: set[asyncio.Future[Any]] = set()

    def seconds_for(self, attempt: int) -> float | None:
        """How long attempt number `attempt` (from 1) of a request may take."""
        if self._deadline_s is None or self._suspect_after_s is None:
            return self._deadline_s
        if self._answered < ENOUGH_ANSWERS:
            return self._deadline_s
        early = max(self._suspect_after_s, FAR_SLOWER * self._slowest_s)
        return min(self._deadline_s, early * 2.0 ** min(attempt - 1, 16))

    async def ask(
        self, requests: Sequence[Request], attempt: int = 1
    ) -> Sequence[Response | ModelError]:
        """What the model says to `requests`, one response or error each, at their `attempt`.

        Raises:
            TransientError: The deadline passed.
            TypeError: The adapter did not return one response a request.
            Exception: What the adapter raised.
        """
        started = time.monotonic()
        call = asyncio.ensure_future(self._model.ask(requests))
        try:
            seconds = await self._wait(call, attempt, 1 if self._grouping else len(requests))
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        if not call.done():
            self._abandon(call)
            cause = TimeoutError()
            raise TransientError(f"no answer within the deadline of {seconds:g} s") from cause
        if call.cancelled():
            raise RuntimeError("the adapter cancelled its own call")
        responses = check_responses(requests, call.result())
        self._answered += len(responses)
        self._slowest_s = max(self._slowest_s, time.monotonic() - started)
        return responses

    async def _wait(self, call: asyncio.Future[Any], attempt: int, requests: int) -> float | None:
        """Wait for `call` as long as it may take; returns how long that was.

        What may be suspected is learned while waiting: the very first requests leave before
        any answer is known, and one of them may be the one that is lost.
        """
        started = time.monotonic()
        while True:
            each = self.seconds_for(attempt)
            limit = None if each is None else each * requests
            left = None if limit is None else limit - (time.monotonic() - started)
            if call.done() or (left is not None and left <= 0):
                return limit
            if left is not None and self._suspect_after_s is not None:
                left = min(left, self._suspect_after_s)
            await asyncio.wait((call,), timeout=left)

    def _abandon(self, call: asyncio.Future[Any]) -> None:
        """Cancel a call without waiting: an adapter that ignores it must not hold us."""
        self._abandoned.add(call)
        call.add_done_callback(self._retrieve)
        call.cancel()

    def _retrieve(self, call: asyncio.Future[Any]) -> None:
        self._abandoned.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that asyncio does not report it as lost


def check_responses(
    requests: Sequence[Request], responses: object
) -> Sequence[Response | ModelError]:
    """What the adapter returned, if it is one response (or error) a request.

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
        if not isinstance(response, Response | ModelError):
            name = type(response).__name__
            raise TypeError(f"the adapter returned {name} where a Response belongs")
    if all(isinstance(response, LeftOutError) for response in responses):
        raise TypeError("the adapter asked none of the requests that it was given")
    return responses


def answer_problem(response: Response) -> str | None:
    """Why `response` cannot be an answer, though the adapter says it is."""
    if response.status not in ANSWERED:
        return f"the adapter gave the status {response.status!r}, which is not a model's"
    if response.logprob is not None and not math.isfinite(response.logprob):
        return f"the log-likelihood is {response.logprob}, which is no number to compare"
    return None
