"""The road to one model: what waits, what is in flight, and what follows a failed attempt."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from evalkit.engine.failures import FailureKind, describe, failure_kind
from evalkit.engine.journal import ANSWERED, Journal
from evalkit.engine.limits import Clock, ConcurrencyLimit, ProviderLimit, Sleep, backoff_s
from evalkit.engine.settings import DEADLINE_S, EngineSettings
from evalkit.engine.spending import Spending
from evalkit.engine.tally import Tally
from evalkit.engine.tokens import expected_output, input_tokens
from evalkit.errors import EvalkitError, ModelError, StoppedError, TransientError
from evalkit.models.protocol import Model
from evalkit.records import Request, Response


@dataclass(slots=True, eq=False)
class Pending:
    """A request on its way; `verdict` becomes its response, or why it was not asked."""

    key: str
    request: Request
    verdict: asyncio.Future[Response | StoppedError]
    number: int = 0
    attempts: int = 0
    sends: int = 0
    refused_since: float | None = None
    tokens: float = 0.0


@dataclass(slots=True, frozen=True)
class LaneParts:
    """What a lane shares with others, and what it is told from outside."""

    journal: Journal
    settings: EngineSettings
    spending: Spending
    limit: ProviderLimit
    rng: np.random.Generator
    clock: Clock
    sleep: Sleep
    stop_all: Callable[[str], None]
    model_stopped: Callable[[str], None]


@dataclass(slots=True, eq=False)
class Lane:
    """Sends the requests of one model: batched by kind, a limited number of calls at once.

    Every request ends: with an answer, with a response of status `error`, or with a
    `StoppedError` where the run or the model was stopped before it could be sent.
    """

    model: Model
    tally: Tally
    parts: LaneParts
    stopped: str = ""
    _waiting: dict[str, deque[Pending]] = field(default_factory=dict)
    _unsent: dict[asyncio.Task[None], Sequence[Pending]] = field(default_factory=dict)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)
    _abandoned: set[asyncio.Future[Any]] = field(default_factory=set)
    _active: int = 0
    _count: int = 0
    _scheduled: bool = False
    _last_answer: float = float("-inf")
    _started: float | None = None
    concurrency: ConcurrencyLimit = field(init=False)
    deadline_s: float | None = field(init=False)

    def __post_init__(self) -> None:
        settings = self.parts.settings
        ceiling = settings.concurrency or max(1, self.model.concurrency)
        self.concurrency = ConcurrencyLimit(ceiling, clock=self.parts.clock)
        own = getattr(self.model, "deadline_s", DEADLINE_S)
        self.deadline_s = settings.deadline_s if settings.deadline_s is not None else own
        self._last_answer = self.parts.clock()

    def add(self, pending: Pending) -> None:
        """Take a request; it leaves when there is room."""
        pending.number = self._count
        self._count += 1
        self._waiting.setdefault(pending.request.kind, deque()).append(pending)
        self._pump_soon()

    def stop(self, reason: str) -> None:
        """Send nothing more. What is in flight goes on, everything else ends now."""
        if self.stopped:
            return
        self.stopped = reason
        for queue in self._waiting.values():
            while queue:
                self._end_unsent(queue.popleft())
        for task, batch in list(self._unsent.items()):
            task.cancel()
            for pending in batch:
                self._end_unsent(pending)

    async def drain(self, timeout_s: float | None) -> None:
        """Wait for the calls in flight, `timeout_s` at most, then give them up."""
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=timeout_s)
        left = set(self._calls)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)

    def _end_unsent(self, pending: Pending) -> None:
        if not pending.verdict.done():
            pending.verdict.set_result(StoppedError(self.stopped))

    def _pump_soon(self) -> None:
        """Look for work once everything that is ready now has been added: fuller batches."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._scheduled = False
        while self._active < self.concurrency.value and (batch := self._next_batch()):
            self._active += 1
            task = asyncio.create_task(self._call(batch))
            self._unsent[task] = batch
            self._calls.add(task)
            task.add_done_callback(self._call_ended)

    def _next_batch(self) -> list[Pending]:
        """Up to `model.batch` requests of the kind that has waited longest."""
        queues = [queue for queue in self._waiting.values() if queue]
        if not queues:
            return []
        queue = min(queues, key=lambda waiting: waiting[0].number)
        return [queue.popleft() for _ in range(min(max(1, self.model.batch), len(queue)))]

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._active -= 1
        self._calls.discard(task)
        batch = self._unsent.pop(task, ())
        if not task.cancelled() and (error := task.exception()):
            self._crashed(error)
        for pending in batch:
            self._end_unsent(pending)
        if not self.stopped:
            self._pump_soon()

    def _crashed(self, error: BaseException) -> None:
        """The journal (or the engine itself) failed: nothing more can be asked safely."""
        reason = str(error) if isinstance(error, EvalkitError) else describe(error)
        self.parts.stop_all(reason)

    async def _call(self, batch: Sequence[Pending]) -> None:
        reserved = self._reserve(batch)
        if reserved is None:
            self.parts.stop_all(self.parts.spending.reason)
            return
        try:
            await self._admit(batch)
            await self._send(batch)
        finally:
            self.parts.spending.release(reserved)
            for pending in batch:
                if not pending.verdict.done() and self.stopped:
                    self._end_unsent(pending)

    def _reserve(self, batch: Sequence[Pending]) -> float | None:
        total = 0.0
        for pending in batch:
            part = self.parts.spending.reserve(self.model, self.tally, pending.request)
            if part is None:
                self.parts.spending.release(total)
                return None
            total += part
        return total

    async def _admit(self, batch: Sequence[Pending]) -> None:
        limit = self.parts.limit
        if limit.counts_tokens:
            mean = self.tally.usage.output_tokens / max(1, self.tally.answered)
            for pending in batch:
                out = expected_output(self.model, pending.request, mean or None)
                pending.tokens = input_tokens(self.model, pending.request) + out
        await limit.admit(len(batch), sum(pending.tokens for pending in batch))

    async def _send(self, batch: Sequence[Pending]) -> None:
        """One attempt at `batch`."""
        task = asyncio.current_task()
        if task is not None:
            self._unsent.pop(task, None)
        sent_at = self.parts.clock()
        self._count_sent(batch, sent_at)
        try:
            responses = await self._ask_within_deadline(batch)
        except Exception as error:
            self._count_back(batch)
            await self._failed(batch, error, sent_at)
        else:
            self._count_back(batch)
            self._answered(batch, responses, sent_at)

    def _count_back(self, batch: Sequence[Pending]) -> None:
        self.tally.in_flight -= len(batch)
        self.tally.seconds = self.parts.clock() - (self._started or 0.0)

    def _count_sent(self, batch: Sequence[Pending], sent_at: float) -> None:
        self._started = sent_at if self._started is None else self._started
        self.tally.sent += len(batch)
        self.tally.in_flight += len(batch)
        for pending in batch:
            pending.sends += 1

    async def _ask_within_deadline(self, batch: Sequence[Pending]) -> Sequence[Response]:
        requests = [pending.request for pending in batch]
        seconds = None if self.deadline_s is None else self.deadline_s * len(batch)
        call = asyncio.ensure_future(self.model.ask(requests))
        try:
            done, _ = await asyncio.wait((call,), timeout=seconds)
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        if not done:
            self._abandon(call)
            raise TransientError(f"no answer within the deadline of {seconds:g} s") from (
                TimeoutError()
            )
        return _checked(batch, call.result())

    def _abandon(self, call: asyncio.Future[Any]) -> None:
        """Cancel a call without waiting: an adapter that ignores it must not hold us."""
        self._abandoned.add(call)
        call.add_done_callback(self._retrieve)
        call.cancel()

    def _retrieve(self, call: asyncio.Future[Any]) -> None:
        self._abandoned.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that asyncio does not report it as lost

    def _answered(
        self, batch: Sequence[Pending], responses: Sequence[Response], sent_at: float
    ) -> None:
        now = self.parts.clock()
        self._last_answer = now
        self.concurrency.answered()
        self.parts.limit.answered(_rate_headers(self.model))
        for pending, response in zip(batch, responses, strict=True):
            self._keep(pending, response, now - sent_at)

    def _keep(self, pending: Pending, response: Response, seconds: float) -> None:
        if response.status == "error":
            self._lose(pending, "bad_request", response.error or "the adapter gave no reason")
            return
        if (problem := _problem(response)) is not None:
            self._note_failure(pending, "malformed", problem, None)
            self._lose(pending, "malformed", problem)
            return
        response = msgspec.structs.replace(
            response,
            attempts=pending.sends,
            latency_s=response.latency_s or round(seconds, 6),
        )
        self.parts.journal.put(pending.key, response, model=self.model.name)
        self._count_answer(pending, response)
        pending.verdict.set_result(response)

    def _count_answer(self, pending: Pending, response: Response) -> None:
        tally, usage = self.tally, response.usage
        tally.answered += 1
        tally.recovered += pending.sends > 1
        self.parts.spending.add(self.model, tally, usage)
        if pending.tokens:
            used = usage.input_tokens + usage.output_tokens
            self.parts.limit.settle_tokens(pending.tokens, used)

    async def _failed(self, batch: Sequence[Pending], error: Exception, sent_at: float) -> None:
        kind = failure_kind(error)
        if len(batch) > 1 and kind in ("bad_request", "unexpected"):
            await self._split(batch)
            return
        for pending in batch:
            code = error.status_code if isinstance(error, ModelError) else None
            self._note_failure(pending, kind, describe(error), code)
        if kind == "access":
            self._die(f"{self.model.name}: {describe(error)}")
        elif kind in ("bad_request", "unexpected"):
            self._lose(batch[0], kind, describe(error))
        else:
            self._repeat(batch, error, kind, sent_at)

    async def _split(self, batch: Sequence[Pending]) -> None:
        """One request of the batch is bad: ask its halves to find which."""
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if not self.stopped:
                await self._send(half)

    def _note_failure(
        self, pending: Pending, kind: FailureKind, message: str, code: int | None
    ) -> None:
        self.tally.failures[kind] += 1
        self.parts.journal.put_failure(
            pending.key,
            model=self.model.name,
            attempt=pending.sends,
            kind=kind,
            message=message,
            status_code=code,
        )

    def _die(self, reason: str) -> None:
        self.stop(reason)
        self.parts.model_stopped(reason)

    def _lose(self, pending: Pending, kind: FailureKind, message: str) -> None:
        self.tally.lost[kind] += 1
        error = message if message.startswith(f"{kind}: ") else f"{kind}: {message}"
        pending.verdict.set_result(Response(status="error", error=error, attempts=pending.sends))

    def _repeat(
        self, batch: Sequence[Pending], error: Exception, kind: FailureKind, sent_at: float
    ) -> None:
        """Ask again after a passing failure, as long as patience lasts."""
        retry_after = getattr(error, "retry_after_s", None)
        if retry_after is not None and retry_after > self.parts.settings.patience_s:
            self._die(
                f"{self.model.name}: the provider asks to wait {retry_after:g} s, longer than "
                f"the patience of {self.parts.settings.patience_s:g} s ({describe(error)})"
            )
            return
        if kind == "rate_limited":
            self.concurrency.refused(sent_at)
            self.parts.limit.refused(sent_at, retry_after)
        elif retry_after is not None:
            self.parts.limit.pause(retry_after)
        for pending in batch:
            self._repeat_one(pending, error, kind, sent_at)

    def _repeat_one(
        self, pending: Pending, error: Exception, kind: FailureKind, sent_at: float
    ) -> None:
        if kind == "rate_limited":
            if pending.refused_since is None:
                pending.refused_since = sent_at
            if self.parts.clock() - pending.refused_since > self.parts.settings.patience_s:
                self._out_of_patience(pending, error)
            else:
                self._ask_again(pending)  # the provider's pause is its wait
            return
        pending.attempts += 1
        if pending.attempts >= self.parts.settings.max_attempts:
            self._lose(pending, kind, describe(error))
            return
        wait = self._ask_later(pending, backoff_s(pending.attempts, self.parts.rng))
        task = asyncio.create_task(wait)
        self._unsent[task] = (pending,)
        task.add_done_callback(self._wait_ended)

    def _out_of_patience(self, pending: Pending, error: Exception) -> None:
        patience = self.parts.settings.patience_s
        message = f"refused for more than {patience:g} s ({describe(error)})"
        if self.parts.clock() - self._last_answer > patience:
            self._die(f"{self.model.name}: {message}")
            return
        self._lose(pending, "rate_limited", message)

    async def _ask_later(self, pending: Pending, seconds: float) -> None:
        await self.parts.sleep(seconds)
        self._ask_again(pending)

    def _wait_ended(self, task: asyncio.Task[None]) -> None:
        self._unsent.pop(task, None)

    def _ask_again(self, pending: Pending) -> None:
        """Before those that have not been asked yet: older samples end first."""
        if self.stopped:
            self._end_unsent(pending)
            return
        self._waiting.setdefault(pending.request.kind, deque()).appendleft(pending)
        self._pump_soon()


def _rate_headers(model: Model) -> Mapping[str, str] | None:
    return getattr(model, "rate_headers", None)


def _checked(batch: Sequence[Pending], responses: object) -> Sequence[Response]:
    """The adapter's result, if it is one response a request.

    Raises:
        TypeError: It is not: a mistake in the adapter that no repetition mends.
    """
    if not isinstance(responses, Sequence) or len(responses) != len(batch):
        size = len(responses) if isinstance(responses, Sequence) else type(responses).__name__
        raise TypeError(f"the adapter returned {size} responses for {len(batch)} requests")
    if strangers := list(_strangers(responses)):
        raise TypeError(f"the adapter returned {strangers[0]} where a Response belongs")
    return responses


def _strangers(responses: Sequence[object]) -> Iterator[str]:
    return (type(item).__name__ for item in responses if not isinstance(item, Response))


def _problem(response: Response) -> str | None:
    """Why `response` cannot be an answer, though the adapter says it is."""
    if response.status not in ANSWERED:
        return f"the adapter gave the status {response.status!r}, which is not a model's"
    if response.logprob is not None and not math.isfinite(response.logprob):
        return f"the log-likelihood is {response.logprob}, which is no number to compare"
    return None
