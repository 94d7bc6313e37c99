"""What a scorer is: a pure, versioned function of a sample and its answers.

A scorer reads nothing but its arguments, so an old run can be scored again. Its name, version
and parameters go into the task's fingerprint: raise the version when a verdict can change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Generic, TypeVar

from evalkit.config.yaml import Definition
from evalkit.records import Record, Response, Sample, Score, Status

Params = TypeVar("Params", bound=Definition)

#: What a score takes over from one of its answers, the gravest first.
_GRAVEST: tuple[Status, ...] = ("unscored", "filtered", "refused", "truncated", "unparsed")


class NoParams(Definition, frozen=True, kw_only=True):
    """The parameters of a scorer that has none."""


@dataclass(frozen=True)
class Scorer(Generic[Params]):
    """A way to score answers.

    Attributes:
        name: What definitions call it.
        version: Raised whenever a verdict can change.
        params: The record of its parameters.
        score: The verdict on one sample's answers.
        metrics: The names of the values that it gives.
        check: Raises an `InputError` before anything is spent, if these parameters cannot be
            used for so many answers a sample, or on this machine.
        heavy: Whether it takes long enough to be kept off the event loop.
    """

    name: str
    version: str
    params: type[Params]
    score: Callable[[Sample, Sequence[Response], Params], Score]
    metrics: Callable[[Params], tuple[str, ...]]
    check: Callable[[Params, int], None] = lambda params, repeats: None
    heavy: bool = False


class Verdict(Record, frozen=True, kw_only=True):
    """How one answer does; `parsed=False` where nothing in it could be judged."""

    values: Mapping[str, float]
    extracted: Any = None
    parsed: bool = True
    note: str = ""


def named(*metrics: str) -> Callable[[Any], tuple[str, ...]]:
    """For scorers whose metrics do not depend on their parameters."""
    return lambda params: metrics


def mean_score(answers: Sequence[Response], judge: Callable[[Response], Verdict]) -> Score:
    """The score of a sample: the mean of its answers' verdicts, and the gravest status."""
    verdicts = [judge(answer) for answer in answers]
    if not verdicts:
        return Score(status="unscored", note="there is no answer to score")
    means = {name: fmean(v.values[name] for v in verdicts) for name in verdicts[0].values}
    return Score(
        status=joint_status(answers, verdicts),
        values=means,
        extracted=verdicts[0].extracted if len(verdicts) == 1 else [v.extracted for v in verdicts],
        note="; ".join(dict.fromkeys(v.note for v in verdicts if v.note)),
    )


def joint_status(answers: Sequence[Response], verdicts: Sequence[Verdict]) -> Status:
    """The gravest status among answers; one that was not parsed counts as `unparsed`."""
    found: set[Status] = {answer.status for answer in answers}
    if any(not verdict.parsed for verdict in verdicts):
        found.add("unparsed")
    return next((status for status in _GRAVEST if status in found), "ok")


def without_thoughts(text: str) -> str:
    """`text` without the reasoning that a server left in it.

    A block of thoughts that never closes leaves nothing: the model did not come to an answer.
    """
    _, closed, after = text.rpartition("</think>")
    return after if closed else text.partition("<think>")[0]


def final_text(answer: Response) -> str:
    """What an answer says in the end, without white space around it."""
    return without_thoughts(answer.text).strip()
