"""What a task must be: it knows what to ask and how an answer is scored, never who answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

from evalkit.records import Aggregate, Mode, Record, Request, Response, Sample, Sampling, Score


class Prompting(Record, frozen=True, kw_only=True):
    """How a task's questions are put, decided per model before anything is built.

    Args:
        style: `chat` gives messages, `text` a raw prompt.
        mode: The wanted mode; a multiple-choice task takes `loglikelihood` or `letter`.
            None takes the task's own first mode.
        num_fewshot: Worked examples; None takes the task's own number.
        multiturn: Worked examples as turns of the conversation (`chat` style only).
        system: A system instruction put before the task's own.
        seed: For the choice of worked examples and everything else drawn.
        sampling: Overrides of the task's own sampling; unset fields stay the task's.
        repeats: Answers a sample; None takes the task's own number.
    """

    style: Literal["chat", "text"] = "chat"
    mode: Mode | None = None
    num_fewshot: int | None = None
    multiturn: bool | None = None
    system: str = ""
    seed: int = 1234
    sampling: dict[str, Any] = {}
    repeats: int | None = None


class TaskInfo(Record, frozen=True, kw_only=True):
    """What is known of a task without loading a row.

    `modes` are the ways it can be asked, the preferred one first. `kind` names the adapter
    (`lm_eval`, `declarative`, `generated`); `needs_tools` that it uses a provider's tool
    interface where there is one. `max_tokens` is what limits an answer (None: nothing does, or
    it is not known). `heavy_scoring` keeps scoring off the event loop: it waits for programs.
    `main_thread` says that scoring works in the main thread of a process only, as code does that
    limits its own time by alarms.
    """

    name: str
    kind: str
    title: str = ""
    version: str = ""
    category: str = ""
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = ("generate",)
    metrics: tuple[str, ...] = ()
    num_fewshot: int = 0
    source: str = ""
    licence: str = ""
    description: str = ""
    max_tokens: int | None = None
    heavy_scoring: bool = False
    main_thread: bool = False


class TaskRef(Record, frozen=True, kw_only=True):
    """Which task to load: its name, the adapter that knows it, and what a group overrides in it."""

    name: str
    kind: str
    path: str = ""
    overrides: dict[str, Any] = {}


class GroupMetric(Record, frozen=True, kw_only=True):
    """A metric that a group averages over its members: over all filters, or the named ones."""

    metric: str
    filters: tuple[str, ...] = ()
    weight_by_size: bool = True


class Group(Record, frozen=True, kw_only=True):
    """Tasks that are reported together; `members` are the names of its leaf tasks."""

    name: str
    title: str = ""
    version: str = ""
    members: tuple[str, ...] = ()
    metrics: tuple[GroupMetric, ...] = ()


class Selection(Record, frozen=True, kw_only=True):
    """What a list of names stands for: the tasks to run, once each, and the groups over them."""

    tasks: tuple[TaskRef, ...] = ()
    groups: tuple[Group, ...] = ()


class Task(Protocol):
    """One benchmark, put in one way (`prompting`).

    The cycle of a sample: `requests(sample, ())` gives what to ask first. When all of it is
    answered, `requests(sample, answers)` gives what to ask next (a multi-turn environment),
    or nothing, and then `score(sample, answers)` is called. `answers` holds every response
    so far, in the order asked. `score` must be pure: it runs again from the journal.
    """

    info: TaskInfo
    prompting: Prompting
    mode: Mode
    #: Hash of everything that defines prompts and scoring (YAML, code version, prompting).
    fingerprint: str
    #: Whether scoring needs every response of the task at once (a filter over the whole task):
    #: then `score_all` is called when all is answered, instead of `score` as samples finish.
    scores_together: bool

    def size(self, limit: int | float | None) -> int:
        """How many samples `samples` will give."""
        ...

    def samples(self, limit: int | float | None) -> Iterator[Sample]:
        """The samples in a fixed order: the first `limit`, or that fraction (0 < limit < 1)."""
        ...

    def requests(self, sample: Sample, answers: Sequence[Response]) -> Sequence[Request]:
        """What to ask next; empty when the sample is done."""
        ...

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        """How the answers do. Never called where an answer has the status `error`."""
        ...

    def score_all(self, answered: Sequence[tuple[Sample, Sequence[Response]]]) -> list[Score]:
        """The scores of all samples, in order; called only where `scores_together`."""
        ...

    def aggregate(self, scores: Iterable[Score]) -> list[Aggregate]:
        """The task's metrics over its scored samples (status neither `error` nor `unscored`)."""
        ...

    def data_fingerprint(self) -> str:
        """Names the rows that were used (dataset, revision or checksum), for the manifest."""
        ...


def merge_sampling(own: Sampling, overrides: dict[str, Any]) -> Sampling:
    """`own` with the fields of `overrides` that are set."""
    fields = {name: getattr(own, name) for name in Sampling.__struct_fields__}
    return Sampling(**{**fields, **overrides})


def sample_count(total: int, limit: int | float | None) -> int:
    """How many of `total` samples a limit keeps: the first `limit`, or a fraction, rounded up."""
    if limit is None:
        return total
    if 0 < limit < 1:
        return -int(-total * limit // 1)
    return min(total, int(limit))
