"""Asks models: the journal first, identical requests once, the rest by the model's lane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np

from evalkit.engine.failures import describe
from evalkit.engine.journal import Journal, response_key
from evalkit.engine.lane import Lane, LaneParts
from evalkit.engine.limits import Clock, ProviderLimit, Sleep
from evalkit.engine.pending import Pending
from evalkit.engine.settings import EngineSettings
from evalkit.engine.spending import Price, Spending
from evalkit.engine.tally import Tally
from evalkit.errors import StoppedError
from evalkit.models.protocol import Model
from evalkit.records import Request, Response

#: What a request on its way will come to.
Coming = asyncio.Future[Response | StoppedError]


class Asker:
    """The one way to a model: `await asker.ask(model, request)`.

    A request belongs to the asker, not to who asks: where a caller is cancelled, the
    request goes on, its answer is journaled, and other callers of the same request get it.

    Args:
        journal: Where answers are looked up and kept.
        settings: Limits and patience.
        price: What an answer cost; None where costs do not matter.
        clock: Monotonic seconds.
        sleep: Waits that many seconds.
        note: Is told what the user should know.
    """

    def __init__(
        self,
        journal: Journal,
        settings: EngineSettings,
        *,
        price: Price | None = None,
        note: Callable[[str], None] = lambda text: None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.journal, self.settings = journal, settings
        self.spending = Spending(price, settings.max_cost)
        self.stopped = ""
        #: What earlier processes paid for, by model.
        self._paid = journal.usage()
        #: What went wrong in the engine itself; a run raises it.
        self.crash: BaseException | None = None
        self.model_failures: dict[str, str] = {}
        self._clock, self._sleep, self._note = clock, sleep, note
        self._rng = np.random.default_rng(settings.seed)
        self._lanes: dict[int, Lane] = {}
        self._limits: dict[str, ProviderLimit] = {}
        self._in_flight: dict[str, Pending] = {}
        self.tallies: dict[str, Tally] = {}
        #: Set when the whole run is stopped.
        self.stop_event = asyncio.Event()

    def tally(self, model: Model) -> Tally:
        """The counters of `model`."""
        return self.tallies.setdefault(model.name, Tally(model.name))

    async def ask(self, model: Model, request: Request) -> Response:
        """The answer, from wherever it is soonest to be had.

        A request that fails for good is a response with the status `error`.

        Raises:
            StoppedError: The run or this model was stopped before the request could be sent.
        """
        return (await self.ask_all(model, (request,)))[0]

    async def ask_all(self, model: Model, requests: Sequence[Request]) -> list[Response]:
        """The answers to `requests`, in order; all of them wait or are in flight at once.

        Raises:
            StoppedError: The run or this model was stopped before all could be sent.
        """
        lane = self._lane(model)
        coming = [self._begin(lane, request) for request in requests]
        return [
            answer if isinstance(answer, Response) else await _verdict(answer) for answer in coming
        ]

    def _begin(self, lane: Lane, request: Request) -> Response | Coming:
        """The answer if it is journaled; else the request on its way, sent once."""
        lane.tally.asked += 1
        key = response_key(lane.model.identity, request)
        if (pending := self._in_flight.get(key)) is not None:
            lane.tally.deduplicated += 1
            return pending.wait()
        if (held := self.journal.get(key)) is not None:
            lane.tally.from_journal += 1
            return held
        return self._send(lane, key, request).wait()

    def is_stopped(self, model: Model) -> bool:
        """Whether nothing more will be sent to `model`."""
        return bool(self.stopped or self._lane(model).stopped)

    def calls_at_once(self, model: Model) -> int:
        """How many calls of `model` are kept in flight now, while it refuses none."""
        return self._lane(model).concurrency.ceiling

    def stop(self, reason: str) -> None:
        """Send nothing more to any model; what is in flight goes on."""
        self.stopped = self.stopped or reason
        for lane in self._lanes.values():
            lane.stop(self.stopped)
        self.stop_event.set()

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait for what is in flight, `timeout_s` at most, and give up the rest."""
        await asyncio.gather(*(lane.drain(timeout_s) for lane in self._lanes.values()))

    async def close(self) -> None:
        """Give up whatever is still on its way."""
        for lane in self._lanes.values():
            lane.stop("the run has ended")
        await self.drain(0)

    def _send(self, lane: Lane, key: str, request: Request) -> Pending:
        if lane.stopped or self.stopped:
            raise StoppedError(lane.stopped or self.stopped)
        pending = self._in_flight[key] = Pending(key, request, self._in_flight.pop)
        lane.add(pending)
        return pending

    def _lane(self, model: Model) -> Lane:
        lane = self._lanes.get(id(model))
        return self._open_lane(model) if lane is None else lane

    def _open_lane(self, model: Model) -> Lane:
        parts = LaneParts(
            journal=self.journal,
            settings=self.settings,
            spending=self.spending,
            limit=self._limit(model.provider),
            rng=self._rng,
            clock=self._clock,
            sleep=self._sleep,
            stop_all=self.stop,
            model_stopped=lambda reason: self._model_stopped(model, reason),
            crashed=self._crashed,
            note=self._note,
        )
        lane = self._lanes[id(model)] = Lane(model, self.tally(model), parts)
        if (paid := self._paid.pop(model.name, None)) is not None:
            self.spending.add_journaled(model, lane.tally, paid)
        return lane

    def _limit(self, provider: str) -> ProviderLimit:
        if provider not in self._limits:
            settings = self.settings.for_provider(provider)
            limit = ProviderLimit(settings, self._rng, clock=self._clock, sleep=self._sleep)
            self._limits[provider] = limit
        return self._limits[provider]

    def _model_stopped(self, model: Model, reason: str) -> None:
        self.model_failures[model.name] = reason

    def _crashed(self, error: BaseException) -> None:
        """A mistake of ours, or of a price or token counter: never hidden, never hanging."""
        self.crash = self.crash or error
        self.stop(describe(error))


async def _verdict(coming: Coming) -> Response:
    verdict = await coming
    if isinstance(verdict, StoppedError):
        raise StoppedError(str(verdict))
    return verdict
