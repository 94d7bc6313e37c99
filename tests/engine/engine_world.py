"""Small models and tasks for the engine's tests, and a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence

from evalkit.engine.asking import Asker
from evalkit.engine.journal import Journal
from evalkit.engine.scheduler import run_jobs
from evalkit.engine.settings import EngineSettings
from evalkit.errors import TransientError
from evalkit.models.protocol import Capabilities
from evalkit.records import Request, Response, Sample, Score, Usage
from evalkit.tasks.protocol import Prompting, TaskInfo, sample_count

Answer = Callable[[Request], Response]


def upper(request: Request) -> Response:
    usage = Usage(input_tokens=10, output_tokens=2)
    return Response(text=str(request.prompt).upper(), usage=usage)


class SmallModel:
    """Answers with `answer`; remembers every call, and how many were in flight at once."""

    def __init__(
        self,
        answer: Answer = upper,
        *,
        name: str = "small",
        provider: str = "here",
        concurrency: int = 8,
        batch: int = 1,
        pause: Callable[[], object] | None = None,
    ) -> None:
        self.name, self.provider, self.answer = name, provider, answer
        self.identity = {"provider": provider, "name": name}
        self.concurrency, self.batch = concurrency, batch
        self.capabilities = Capabilities()
        self.calls: list[list[Request]] = []
        self.in_flight = self.most_in_flight = 0
        self.pause = pause or (lambda: asyncio.sleep(0))

    @property
    def asked(self) -> list[Request]:
        return [request for call in self.calls for request in call]

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        self.calls.append(list(requests))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.pause()
            return [self.answer(request) for request in requests]
        finally:
            self.in_flight -= 1


class Failing:
    """Raises `errors` one after the other, a list for each prompt, and then answers."""

    def __init__(self, *errors: Exception, only: str = "") -> None:
        self.errors, self.only = errors, only
        self.seen: dict[str, int] = {}

    def __call__(self, request: Request) -> Response:
        prompt = str(request.prompt)
        turn = self.seen.get(prompt, 0)
        self.seen[prompt] = turn + 1
        if self.only in prompt and turn < len(self.errors):
            raise self.errors[turn]
        return upper(request)


class SmallTask:
    """`number` questions, `each` requests a sample; right where the answer is in capitals."""

    scores_together = False
    mode = "generate"
    fingerprint = "small"

    def __init__(self, number: int = 10, *, name: str = "small", each: int = 1) -> None:
        self.number, self.each = number, each
        self.info = TaskInfo(name=name, kind="declarative")
        self.prompting = Prompting()

    def size(self, limit: int | float | None) -> int:
        return sample_count(self.number, limit)

    def samples(self, limit: int | float | None):
        for index in range(self.size(limit)):
            yield Sample(id=f"{self.info.name}-{index}", index=index, doc={"q": f"q {index}"})

    def requests(self, sample: Sample, answers: Sequence[Response]) -> list[Request]:
        if answers:
            return []
        prompts = [f"{self.info.name} {sample.doc['q']} {k}" for k in range(self.each)]
        return [Request(kind="generate", prompt=prompt) for prompt in prompts]

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        return Score(values={"acc": float(all(answer.text.isupper() for answer in answers))})

    def score_all(self, answered):
        raise AssertionError("the engine scores these samples one by one")

    def aggregate(self, scores):
        raise AssertionError("the engine leaves aggregates to others")

    def data_fingerprint(self) -> str:
        return "small"


class VirtualTime:
    """A clock that jumps to the next sleeper when nothing else is left to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._sleepers: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.now + seconds
        heapq.heappush(self._sleepers, until)
        try:
            while self.now < until:
                for _ in range(20):  # whoever can go on without waiting, does
                    await asyncio.sleep(0)
                if self._sleepers[0] == until:
                    self.now = max(self.now, until)
        finally:
            self._sleepers.remove(until)
            heapq.heapify(self._sleepers)


class Collected:
    """What a run reported, in order."""

    def __init__(self) -> None:
        self.finished = []
        self.done: list[str] = []

    @property
    def scores(self) -> list[Score]:
        return [one.score for one in self.finished]

    @property
    def statuses(self) -> list[str]:
        return [score.status for score in self.scores]

    async def run(self, journal: Journal, *jobs, settings: EngineSettings | None = None, **more):
        return await run_jobs(
            jobs,
            journal=journal,
            settings=settings,
            on_finished=lambda job, one: self.finished.append(one),
            on_job_done=lambda job, task: self.done.append(job.name),
            **more,
        )


def question(prompt: str, **more: object) -> Request:
    return Request(kind="generate", prompt=prompt, **more)


def asker_with(journal, time, price=None, **fields):
    settings = EngineSettings(**fields)
    return Asker(journal, settings, price=price, clock=time.clock, sleep=time.sleep)


def too_fast(retry_after_s: float | None = None) -> TransientError:
    return TransientError(
        "slow down", status_code=429, retry_after_s=retry_after_s, rate_limited=True
    )
