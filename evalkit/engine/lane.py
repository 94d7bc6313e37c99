"""The road to one model: what waits, what is in flight, and what becomes of each request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from evalkit.engine.attempts import Attempts, answer_problem
from evalkit.engine.failures import FailureKind, describe, failure_kind
from evalkit.engine.journal import Journal
from evalkit.engine.knee import KneeSearch
from evalkit.engine.limits import Clock, ConcurrencyLimit, ProviderLimit, Sleep, backoff_s
from evalkit.engine.pending import Pending, Waiting
from evalkit.engine.retry import Next, after_failure
from evalkit.engine.settings import DEADLINE_S, EngineSettings
from evalkit.engine.spending import Spending
from evalkit.engine.tally import Tally
from evalkit.engine.tokens import expected_output, input_tokens
from evalkit.errors import LeftOutError, ModelError, StoppedError
from evalkit.models.protocol import Grouping, Model
from evalkit.records import Response


@dataclass(slots=True, frozen=True)
class LaneParts:
    """What a lane shares with others, and whom it tells when something must stop."""

    journal: Journal
    settings: EngineSettings
    spending: Spending
    limit: ProviderLimit
    rng: np.random.Generator
    clock: Clock
    sleep: Sleep
    stop_all: Callable[[str], None]
    model_stopped: Callable[[str], None]
    crashed: Callable[[BaseException], None]
    note: Callable[[str], None]


class Lane:
    """Sends the requests of one model: batched by kind, a limited number of calls at once.

    Every request ends: with an answer, with a response of status `error`, or with a
    `StoppedError` where the run or the model was stopped before it could be sent.
    """

    def __init__(self, model: Model, tally: Tally, parts: LaneParts) -> None:
        self.model, self.tally, self.parts = model, tally, parts
        self.stopped = ""
        settings = parts.settings
        self.concurrency = _concurrency(model, settings, parts.clock)
        own_deadline = getattr(model, "deadline_s", DEADLINE_S)
        deadline = own_deadline if settings.deadline_s is None else settings.deadline_s
        self._attempts = Attempts(model, deadline)
        self._grouping = isinstance(model, Grouping)
        tally.concurrency = self.concurrency.ceiling
        self._waiting = Waiting(model.together if isinstance(model, Grouping) else None)
        #: Tasks with requests that have not left (again) yet: stopping cancels them.
        self._unsent: dict[asyncio.Task[None], Sequence[Pending]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._pumping = False
        #: Whether more waits than may leave.
        self._full = False
        self._knee_said = 0
        self._started: float | None = None
        self._last_answer = parts.clock()

    def add(self, pending: Pending) -> None:
        """Take a request; it leaves when there is room."""
        self._waiting.append(pending)
        self._pump_soon()

    def stop(self, reason: str) -> None:
        """Send nothing more. What is in flight goes on, everything else ends now."""
        if self.stopped:
            return
        self.stopped = reason
        self._end_unsent(self._waiting.drain())
        for task, batch in list(self._unsent.items()):
            task.cancel()
            self._end_unsent(batch)

    async def drain(self, timeout_s: float | None) -> None:
        """Wait for the calls in flight, `timeout_s` at most, then give them up."""
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=timeout_s)
        if left := set(self._calls):
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    # --- what leaves ---------------------------------------------------------------

    def _pump_soon(self) -> None:
        """Look for work once everything that is ready now has been added: fuller batches."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        while len(self._calls) < self.concurrency.value and not self.stopped:
            batch = self._waiting.next_batch(self.model.batch)
            if not batch:
                self._full = False
                return
            task = self._start(self._call(batch), batch)
            self._calls.add(task)
            task.add_done_callback(self._call_ended)
        self._full = True

    def _start(
        self, work: Coroutine[object, object, None], batch: Sequence[Pending]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._unsent[task] = batch
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._unsent.pop(task, None)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._pump_soon()

    async def _call(self, batch: Sequence[Pending]) -> None:
        """Send a batch when limits and money allow; whatever happens, account for it."""
        reserved = 0.0
        try:
            reserved = self._reserve(batch)
            await self._admit(batch)
            await self._send(batch)
        except StoppedError as error:
            self.parts.stop_all(str(error))
        except Exception as error:
            self.parts.crashed(error)
        finally:
            self.parts.spending.release(reserved)
            if self.stopped:
                self._end_unsent(batch)

    def _reserve(self, batch: Sequence[Pending]) -> float:
        requests = [pending.request for pending in batch]
        return self.parts.spending.reserve(self.model, self.tally, requests)

    async def _admit(self, batch: Sequence[Pending]) -> None:
        limit = self.parts.limit
        if limit.counts_tokens:
            for place, pending in enumerate(batch):
                sent = self._grouping and place > 0
                pending.tokens = self._likely_tokens(pending, prompt_sent=sent)
        requests = 1 if self._grouping else len(batch)
        await limit.admit(requests, sum(pending.tokens for pending in batch))

    def _likely_tokens(self, pending: Pending, *, prompt_sent: bool) -> float:
        answered = self.tally.answered
        mean = self.tally.usage.output_tokens / answered if answered else None
        likely = expected_output(self.model, pending.request, mean)
        return input_tokens(self.model, pending.request, prompt_sent=prompt_sent) + likely

    async def _send(self, batch: Sequence[Pending]) -> None:
        """One attempt at `batch`."""
        task = asyncio.current_task()
        if task is not None:
            self._forget(task)
        sent_at = self.parts.clock()
        self._count_sent(batch, sent_at)
        try:
            responses = await self._attempts.ask(
                [pending.request for pending in batch],
                attempt=1 + max(pending.attempts for pending in batch),
            )
        except Exception as error:
            failure = error
        else:
            self._answered(batch, responses, sent_at)
            return
        finally:
            self.tally.in_flight -= len(batch)
            self.tally.seconds = self.parts.clock() - (self._started or 0.0)
        await self._failed(batch, failure, sent_at)

    def _count_sent(self, batch: Sequence[Pending], sent_at: float) -> None:
        self._started = sent_at if self._started is None else self._started
        self.tally.calls += 1
        self.tally.sent += len(batch)
        self.tally.in_flight += len(batch)
        for pending in batch:
            pending.sends += 1

    # --- what comes back -----------------------------------------------------------

    def _answered(
        self, batch: Sequence[Pending], responses: Sequence[Response | ModelError], sent_at: float
    ) -> None:
        self._last_answer = self.parts.clock()
        self.concurrency.answered()
        self._measure(sent_at)
        self.parts.limit.answered(_rate_headers(self.model))
        failed: dict[ModelError, list[Pending]] = {}
        for pending, response in zip(batch, responses, strict=True):
            if isinstance(response, ModelError):
                failed.setdefault(response, []).append(pending)
            else:
                self._take(pending, response, self._last_answer - sent_at)
        for error, some in failed.items():
            if isinstance(error, LeftOutError):
                self._left_out(some)
            else:
                self._fail(some, error, failure_kind(error), sent_at)

    def _measure(self, sent_at: float) -> None:
        """Let the knee be sought, and say where it was found if that is news."""
        found = self.concurrency.measure(sent_at, self._full)
        self.tally.concurrency = calls = self.concurrency.ceiling
        knee = self.concurrency.knee
        if found and knee is not None and abs(calls - self._knee_said) > 0.1 * self._knee_said:
            self._knee_said = calls
            self.parts.note(f"{self.model.name}: {knee.report()}")

    def _left_out(self, batch: Sequence[Pending]) -> None:
        """Requests that their call did not send after all wait again, as if never taken."""
        self.tally.sent -= len(batch)
        for pending in batch:
            pending.sends -= 1
        if self.stopped:
            self._end_unsent(batch)
        else:
            self._ask_again(batch)

    def _take(self, pending: Pending, response: Response, seconds: float) -> None:
        if response.status == "error":
            said = response.error or "the adapter gave no reason"
            self._note_failure(pending, "bad_request", said, None)
            self._lose(pending, "bad_request", said)
        elif problem := answer_problem(response):
            self._note_failure(pending, "malformed", problem, None)
            self._lose(pending, "malformed", problem)
        else:
            latency = response.latency_s or round(seconds, 6)
            self._keep(
                pending,
                msgspec.structs.replace(response, attempts=pending.sends, latency_s=latency),
            )

    def _keep(self, pending: Pending, response: Response) -> None:
        self.parts.journal.put(pending.key, response, model=self.model.name)
        self.tally.answered += 1
        self.tally.recovered += pending.sends > 1
        self.parts.spending.add(self.model, self.tally, response.usage)
        if pending.tokens:
            used = response.usage.input_tokens + response.usage.output_tokens
            self.parts.limit.settle_tokens(pending.tokens, used)
        pending.end(response)

    async def _failed(self, batch: Sequence[Pending], error: Exception, sent_at: float) -> None:
        kind = failure_kind(error)
        if len(batch) > 1 and kind in ("bad_request", "unexpected"):
            await self._split(batch)
        else:
            self._fail(batch, error, kind, sent_at)

    def _fail(
        self, batch: Sequence[Pending], error: Exception, kind: FailureKind, sent_at: float
    ) -> None:
        code = error.status_code if isinstance(error, ModelError) else None
        for pending in batch:
            self._note_failure(pending, kind, describe(error), code)
        self._slow_down(error, kind, sent_at)
        steps = [(pending, self._decide(pending, error, kind, sent_at)) for pending in batch]
        for pending, step in steps:
            if step.action not in ("again", "back_off"):
                self._give_up(pending, step, kind)
        for action in ("again", "back_off"):
            if some := [pending for pending, step in steps if step.action == action]:
                self._repeat(some, wait=action == "back_off")

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

    def _slow_down(self, error: Exception, kind: FailureKind, sent_at: float) -> None:
        retry_after = getattr(error, "retry_after_s", None)
        if kind == "rate_limited":
            self.concurrency.refused(sent_at)
            self.parts.limit.refused(sent_at, retry_after)
        elif retry_after is not None:
            self.parts.limit.pause(retry_after)

    def _decide(
        self, pending: Pending, error: Exception, kind: FailureKind, sent_at: float
    ) -> Next:
        if kind != "rate_limited":
            pending.attempts += 1
        elif pending.refused_since is None:
            pending.refused_since = sent_at
        return after_failure(
            error,
            kind,
            pending,
            self.parts.settings,
            now=self.parts.clock(),
            last_answer=self._last_answer,
        )

    def _give_up(self, pending: Pending, step: Next, kind: FailureKind) -> None:
        if step.action == "lose":
            self._lose(pending, kind, step.reason)
        else:
            reason = f"{self.model.name}: {step.reason}"
            self.stop(reason)
            self.parts.model_stopped(reason)

    def _repeat(self, batch: Sequence[Pending], *, wait: bool) -> None:
        """Ask what failed together again together: at once, or after one wait for all."""
        if self.stopped:
            self._end_unsent(batch)
        elif wait:
            wait_s = backoff_s(max(pending.attempts for pending in batch), self.parts.rng)
            self._start(self._ask_later(batch, wait_s), batch)
        else:
            self._ask_again(batch)

    def _lose(self, pending: Pending, kind: FailureKind, message: str) -> None:
        self.tally.lost[kind] += 1
        error = f"{kind}: {message}"
        pending.end(Response(status="error", error=error, attempts=max(1, pending.sends)))

    async def _ask_later(self, batch: Sequence[Pending], seconds: float) -> None:
        await self.parts.sleep(seconds)
        self._ask_again(batch)

    def _ask_again(self, batch: Sequence[Pending]) -> None:
        self._waiting.put_back(batch)
        self._pump_soon()

    def _end_unsent(self, batch: Iterable[Pending]) -> None:
        for pending in batch:
            pending.end(StoppedError(self.stopped))


def _concurrency(model: Model, settings: EngineSettings, clock: Clock) -> ConcurrencyLimit:
    """The user's own number as it is; else the model's, from which its knee is sought."""
    start = settings.concurrency or max(1, model.concurrency)
    most: int | None = getattr(model, "most_concurrency", None)
    searched = settings.concurrency is None and most is not None and most > start
    knee = KneeSearch(start, most) if searched and most is not None else None
    return ConcurrencyLimit(start, knee, clock=clock)


def _rate_headers(model: Model) -> Mapping[str, str] | None:
    return getattr(model, "rate_headers", None)
