"""Counters that the engine keeps while it runs, and what is left of them afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from evalkit.records import Record, Usage


@dataclass(slots=True)
class Tally:
    """What has happened at one model so far. The engine writes it; observers read it.

    `failures` counts attempts, by kind; `lost` counts requests that ended as errors, and
    `recovered` those that were answered after an attempt had failed. `cost` is None as long
    as no price is known.
    """

    model: str
    samples_total: int = 0
    samples_done: int = 0
    samples_failed: int = 0
    jobs_waiting: int = 0
    asked: int = 0
    sent: int = 0
    calls: int = 0
    in_flight: int = 0
    concurrency: int = 0
    answered: int = 0
    from_journal: int = 0
    deduplicated: int = 0
    recovered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    journal_usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    journal_cost: float | None = None
    seconds: float = 0.0

    def outcome(self) -> ModelOutcome:
        """The counters as a record."""
        return ModelOutcome(
            model=self.model,
            requests=self.asked,
            sent=self.sent,
            calls=self.calls,
            concurrency=self.concurrency,
            answered=self.answered,
            from_journal=self.from_journal,
            deduplicated=self.deduplicated,
            recovered=self.recovered,
            failures=dict(self.failures),
            lost=dict(self.lost),
            usage=self.usage,
            journal_usage=self.journal_usage,
            cost=self.cost,
            journal_cost=self.journal_cost,
            seconds=self.seconds,
        )


class ModelOutcome(Record, frozen=True, kw_only=True):
    """What was asked of one model, and what came of it.

    Args:
        model: Its name.
        requests: Requests that samples needed: `answered + from_journal + deduplicated` and
            those that were lost or never sent.
        sent: Requests that left, every attempt counted.
        calls: Calls of the adapter that carried them: fewer, where one call takes several.
        concurrency: Calls that the engine kept in flight, at the end.
        answered: Requests answered by the model in this run.
        from_journal: Requests answered by the journal: by earlier processes, or earlier in
            this one.
        deduplicated: Requests that shared the answer to an identical one in flight.
        recovered: Requests that were answered after at least one failed attempt.
        failures: Failed attempts by kind.
        lost: Requests that ended as errors, by the kind of their last failure.
        usage: Tokens of the answers of this run.
        journal_usage: Tokens of the answers that the journal held at the start.
        cost: US dollars of this run; None where no price is known.
        journal_cost: US dollars that those had cost.
        seconds: From the model's first request to its last answer.
    """

    model: str
    requests: int = 0
    sent: int = 0
    calls: int = 0
    concurrency: int = 0
    answered: int = 0
    from_journal: int = 0
    deduplicated: int = 0
    recovered: int = 0
    failures: dict[str, int] = {}
    lost: dict[str, int] = {}
    usage: Usage = Usage()
    journal_usage: Usage = Usage()
    cost: float | None = None
    journal_cost: float | None = None
    seconds: float = 0.0


class JobOutcome(Record, frozen=True, kw_only=True):
    """How one task went at one model.

    Args:
        name: The job's name.
        model: The model's name.
        samples: How many samples the task has; None where it could not be loaded.
        statuses: Finished samples by the status of their score.
        retried: Finished samples with an answer that took more than one attempt.
        lost: Samples with an error, by the kind of failure.
        complete: Whether every sample is finished.
        failure: Why the task could not be loaded or its samples not be read.
        problems: The first few samples that the task itself could not handle, and why.
    """

    name: str
    model: str
    samples: int | None = None
    statuses: dict[str, int] = {}
    retried: int = 0
    lost: dict[str, int] = {}
    complete: bool = False
    failure: str = ""
    problems: tuple[str, ...] = ()


class Outcome(Record, frozen=True, kw_only=True):
    """How a whole run went.

    Args:
        jobs: In the order given.
        models: By name.
        seconds: From the start to the last sample.
        interrupted: Whether the user stopped it (Ctrl-C).
        stopped: Why it ended early; empty where it did not.
    """

    jobs: tuple[JobOutcome, ...] = ()
    models: dict[str, ModelOutcome] = {}
    seconds: float = 0.0
    interrupted: bool = False
    stopped: str = ""
