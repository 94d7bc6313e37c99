"""What a run would ask and cost, found by building its requests and sending none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from evalkit.engine.jobs import Job
from evalkit.engine.journal import JournalReader, response_key
from evalkit.engine.pending import MOST_TOGETHER
from evalkit.engine.spending import Price
from evalkit.engine.tokens import expected_output, input_tokens, output_limit
from evalkit.models.protocol import Grouping, Model
from evalkit.records import Mode, Record, Request, Response, Sample, Usage
from evalkit.tasks.protocol import Task


class JobPlan(Record, frozen=True, kw_only=True):
    """What one task at one model would ask.

    Tokens and costs are those of the requests that would be sent: neither journaled nor
    twice the same.

    Args:
        task: The job's name.
        model: The model's name.
        mode: How the task is asked.
        samples: Samples.
        requests: Requests, as far as they can be known without an answer.
        journaled: Those that the journal answers.
        duplicates: Those that share the answer to an identical one.
        input_tokens: Tokens sent at most: a prompt that several requests share is counted for each.
        output_tokens: Tokens answered at most.
        expected_output_tokens: Tokens answered, likely.
        cost_usd: Cost at most; None where no price is known.
        expected_cost_usd: Likely cost, where one call sends a shared prompt once; None where no
            price is known.
        bounded: Whether every answer has a limit; else `output_tokens` and `cost_usd` count
            the likely length where there is none.
        multi_turn: Whether the task may ask on after these answers, so that this is the least.
    """

    task: str
    model: str
    mode: Mode
    samples: int = 0
    requests: int = 0
    journaled: int = 0
    duplicates: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    expected_output_tokens: int = 0
    cost_usd: float | None = None
    expected_cost_usd: float | None = None
    bounded: bool = True
    multi_turn: bool = False


def estimate(
    jobs: Sequence[Job],
    *,
    journal: JournalReader | None = None,
    price: Price | None = None,
    on_plan: Callable[[JobPlan], None] | None = None,
) -> list[JobPlan]:
    """The plans of `jobs`, one after the other; nothing is asked and nothing is kept.

    Args:
        jobs: As for `run_jobs`; each is loaded and its requests are built.
        journal: What is answered already; None if there is no journal yet.
        price: What an answer costs.
        on_plan: Called with each plan as soon as it is known.

    Raises:
        InputError: A job's task or data cannot be had.
    """
    sent: set[bytes] = set()
    plans = []
    for job in jobs:
        plan = _Estimate(job, journal, price, sent).plan()
        plans.append(plan)
        if on_plan is not None:
            on_plan(plan)
    return plans


class _Estimate:
    """Adds one job up."""

    def __init__(
        self, job: Job, journal: JournalReader | None, price: Price | None, sent: set[bytes]
    ) -> None:
        self._job, self._journal, self._price, self._sent = job, journal, price, sent
        self.samples = self.requests = self.journaled = self.duplicates = 0
        self.most, self.likely = Usage(), Usage()
        self.journaled_output = 0
        self.bounded = True
        self.multi_turn = False
        #: Requests of the sample at hand that one call may answer, by the adapter's key.
        self._calls: Counter[Hashable] = Counter()

    def plan(self) -> JobPlan:
        task = self._job.load()
        for sample in task.samples(self._job.limit):
            self.samples += 1
            self._count_sample(task, sample)
        return JobPlan(
            task=self._job.name,
            model=self._job.model.name,
            mode=task.mode,
            samples=self.samples,
            requests=self.requests,
            journaled=self.journaled,
            duplicates=self.duplicates,
            input_tokens=self.most.input_tokens,
            output_tokens=self.most.output_tokens,
            expected_output_tokens=self.likely.output_tokens,
            cost_usd=self._cost(self.most),
            expected_cost_usd=self._cost(self.likely),
            bounded=self.bounded,
            multi_turn=self.multi_turn,
        )

    def _cost(self, usage: Usage) -> float | None:
        return self._price(self._job.model, usage) if self._price else None

    def _count_sample(self, task: Task, sample: Sample) -> None:
        """Follow the sample's cycle as far as the journal knows the answers."""
        answers: list[Response] = []
        self._calls.clear()
        requests = tuple(task.requests(sample, ()))
        while requests:
            found = [self._count(request) for request in requests]
            known = [answer for answer in found if answer is not None]
            if len(known) < len(found):
                return
            answers += known
            requests = tuple(task.requests(sample, answers))
            self.multi_turn = self.multi_turn or bool(requests)

    def _count(self, request: Request) -> Response | None:
        model = self._job.model
        self.requests += 1
        key = response_key(model.identity, request)
        if self._journal is not None and (answer := self._journal.get(key)) is not None:
            self.journaled += 1
            self.journaled_output += answer.usage.output_tokens
            return answer
        if (name := bytes.fromhex(key)[:16]) in self._sent:
            self.duplicates += 1
            return None
        self._sent.add(name)
        self._add(model, request)
        return None

    def _add(self, model: Model, request: Request) -> None:
        mean = self.journaled_output / self.journaled if self.journaled else None
        sent, limit = input_tokens(model, request), output_limit(model, request)
        shared = input_tokens(model, request, prompt_sent=self._joins_a_call(model, request))
        likely = round(expected_output(model, request, mean))
        self.bounded = self.bounded and limit is not None
        most = likely if limit is None else limit
        self.most += Usage(input_tokens=sent, output_tokens=most)
        self.likely += Usage(input_tokens=shared, output_tokens=likely)

    def _joins_a_call(self, model: Model, request: Request) -> bool:
        """Whether an earlier request of the sample sends the prompt in the same call."""
        key = model.together(request) if isinstance(model, Grouping) else None
        if key is None:
            return False
        self._calls[key] += 1
        return self._calls[key] % MOST_TOGETHER != 1


def total_cost(plans: Sequence[JobPlan]) -> float | None:
    """The most that `plans` cost together, as far as prices are known; None if none is."""
    known = [plan.cost_usd for plan in plans if plan.cost_usd is not None]
    return sum(known) if known else None
