"""What each measurement is held to: a number, its limit, and whether the limit is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rounds import Load, medians, ratio

#: What the comparison with each peer is held to.
LM_EVAL_RATIO, INSPECT_RATIO = 0.25, 0.1
#: Above the time of the answers alone: a share of it, and seconds for the start.
OVER_IDEAL, START_S = 1.10, 3.0


@dataclass(frozen=True)
class Criterion:
    """One number and its limit; `at_least` says which side of the limit is wanted."""

    what: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the number is on the wanted side."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def chat_criteria(data: Mapping[str, Any], against_inspect: bool) -> list[Criterion]:
    """The limits of one chat row: against lm-eval without latency, against the ideal with it.

    Args:
        data: The rounds, and the load and number of samples that they had.
        against_inspect: Whether a share of Inspect's time is a limit. It cannot be one where
            the answers alone take longer than that.
    """
    runs, load = data["runs"], Load(data["latency_ms"], data["concurrency"])
    found = []
    if load.latency_ms:
        limit = load.ideal_s(data["samples"]) * OVER_IDEAL + START_S
        wall = medians(runs["evalkit"])["wall_s"]
        found.append(Criterion("wall time, ideal x 1.10 + 3 s", wall, limit, "s"))
    elif "lm-eval" in runs:
        value = ratio(runs["evalkit"], runs["lm-eval"])
        found.append(Criterion("wall time as a share of lm-eval's", value, LM_EVAL_RATIO))
    if against_inspect and "Inspect" in runs:
        value = ratio(runs["evalkit"], runs["Inspect"])
        found.append(Criterion("wall time as a share of Inspect's", value, INSPECT_RATIO))
    return found


@dataclass(frozen=True)
class Limit:
    """A limit on one number that a program prints.

    Args:
        key: The number's name in a line of the program's output; dots lead into objects.
        limit: Its limit.
        what: What the number is.
        unit: Its unit.
        at_least: The number shall not be below the limit, rather than not above it.
        where: Names and values that the line must have beside it.
    """

    key: str
    limit: float
    what: str
    unit: str = ""
    at_least: bool = False
    where: Mapping[str, Any] | None = None


def program_criteria(
    lines: Sequence[Mapping[str, Any]], limits: Sequence[Limit]
) -> list[Criterion]:
    """The limits of a program's output, one for each line that has the number."""
    return [
        Criterion(limit.what, float(found), limit.limit, limit.unit, limit.at_least)
        for limit in limits
        for line in lines
        if (limit.where or {}).items() <= line.items()
        and (found := _number_at(line, limit.key)) is not None
    ]


def _number_at(line: Mapping[str, Any], key: str) -> float | None:
    value: Any = line
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
