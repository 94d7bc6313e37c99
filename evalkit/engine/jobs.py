"""One task at one model: what is to be run, and what is known while it runs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from evalkit.engine.failures import describe
from evalkit.engine.tally import JobOutcome
from evalkit.engine.window import prompt_characters
from evalkit.models.protocol import Model
from evalkit.records import Record, Request, Response, Sample, Score, Status
from evalkit.tasks.protocol import Task

#: Prompts of this many characters are enough for one chunk of samples.
CHUNK_CHARACTERS = 1_000_000
#: How many of a task's own problems an outcome names.
PROBLEMS_NAMED = 10


class Recipe(Protocol):
    """How a task is loaded, in a form that can be pickled."""

    def load(self) -> Task:
        """The task, with its rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One task at one model.

    Args:
        model: Open, and able to answer the task.
        load: Gives the task; called once, in the build thread, when its turn comes.
        limit: How many samples (or which fraction); None for all.
        recipe: Loads the same task in another process; None for one that exists only in this
            one, which is then scored here.
        name: What outcomes and messages call the task.
    """

    model: Model
    load: Callable[[], Task]
    recipe: Recipe | None = None
    limit: int | float | None = None
    name: str


class Finished(Record, frozen=True, kw_only=True):
    """A sample with all that was asked and answered for it, in the order asked."""

    sample: Sample
    requests: tuple[Request, ...]
    responses: tuple[Response, ...]
    score: Score


@dataclass(eq=False)
class JobRun:
    """A job under way."""

    job: Job
    size: int | None = None
    open: int = 1  # the building itself counts
    unfinished: int = 0
    built: bool = False
    complete: bool = False
    failure: str = ""
    statuses: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    problems: list[str] = field(default_factory=list)
    #: Samples that wait for `score_all`.
    held: list[tuple[Sample, tuple[Request, ...], tuple[Response, ...]]] = field(
        default_factory=list
    )
    #: Set when every sample that was built has ended.
    drained: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, finished: Finished) -> None:
        """Take in a finished sample."""
        self.statuses[finished.score.status] += 1
        self.retried += any(response.attempts > 1 for response in finished.responses)
        if finished.score.status == "error":
            self.lost[finished.score.note.partition(":")[0]] += 1

    def note(self, sample: Sample, what: str) -> None:
        """Remember what the task could not do with `sample`."""
        if len(self.problems) < PROBLEMS_NAMED:
            self.problems.append(f"sample {sample.id}: {what}")

    def outcome(self) -> JobOutcome:
        """How it went."""
        return JobOutcome(
            name=self.job.name,
            model=self.job.model.name,
            samples=self.size,
            statuses=dict(self.statuses),
            retried=self.retried,
            lost=dict(self.lost),
            complete=self.complete,
            failure=self.failure,
            problems=tuple(self.problems),
        )


Built = tuple[Sample, tuple[Request, ...], str]


def build_chunk(task: Task, samples: Iterator[Sample], most: int, seconds: float) -> list[Built]:
    """The next samples with what to ask first: up to `most`, or fewer.

    The chunk ends where `seconds` have passed, or its prompts hold `CHUNK_CHARACTERS`. A sample
    whose requests cannot be built comes with the reason.
    """
    chunk: list[Built] = []
    characters, until = 0, time.monotonic() + seconds
    for sample in samples:
        try:
            chunk.append((sample, tuple(task.requests(sample, ())), ""))
        except Exception as error:
            chunk.append((sample, (), f"requests: {describe(error)}"))
        characters += prompt_characters(chunk[-1][1])
        if len(chunk) >= most or characters >= CHUNK_CHARACTERS or time.monotonic() >= until:
            break
    return chunk


def score_sample(task: Task, sample: Sample, answers: Sequence[Response]) -> Score:
    """The task's score; what the scorer raises becomes a score with the status `unscored`."""
    try:
        return with_answer_status(task.score(sample, answers), answers)
    except Exception as error:
        return Score(status="unscored", note=describe(error))


def score_together(
    task: Task, answered: Sequence[tuple[Sample, Sequence[Response]]]
) -> list[Score]:
    """The scores of a whole task; one that cannot be scored is `unscored` throughout."""
    try:
        scores = task.score_all(answered)
        if len(scores) != len(answered):
            raise ValueError(f"{len(scores)} scores for {len(answered)} samples")
    except Exception as error:
        return [Score(status="unscored", note=describe(error))] * len(answered)
    pairs = zip(scores, answered, strict=True)
    return [with_answer_status(score, answers) for score, (_, answers) in pairs]


def with_answer_status(score: Score, answers: Sequence[Response]) -> Score:
    """`score`, its status that of the first answer that did not end well."""
    status = next((answer.status for answer in answers if answer.status != "ok"), "ok")
    if score.status != "ok" or status == "ok":
        return score
    return msgspec.structs.replace(score, status=status)


def error_score(answers: Sequence[Response]) -> Score | None:
    """The score of a sample with a failed request; None where all were answered."""
    failed: Status = "error"
    for answer in answers:
        if answer.status == failed:
            return Score(status=failed, note=answer.error)
    return None
