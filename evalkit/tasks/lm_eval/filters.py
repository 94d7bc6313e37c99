"""lm-eval's filters, applied to one sample or to a whole task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

#: Filters of lm-eval that read one response (or one sample's repeats) at a time, so that a
#: sample can be scored as soon as it is answered. `multi_choice_regex` is one too, but it
#: builds a table of all of Unicode at each call.
_PER_SAMPLE = (
    "regex",
    "regex_pos",
    "remove_whitespace",
    "take_first",
    "take_first_k",
    "majority_vote",
    "lowercase",
    "uppercase",
    "map",
    "format_span",
)
#: Filters that search for an answer and put a fallback where there is none.
_EXTRACTING = ("fallback", "default_value")


def needs_whole_task(task: Any) -> bool:
    """Whether a filter of the task may look at other samples' responses."""
    from lm_eval.api.registry import get_filter

    known = [get_filter(name) for name in _PER_SAMPLE]
    return any(_filter_class(step) not in known for e in task._filters for step in e.filters)


def apply_filters(task: Any, instances: Sequence[Any]) -> None:
    """Fills `filtered_resps` of all instances, one entry a filter ensemble."""
    for ensemble in task._filters:
        ensemble.apply(list(instances))


def fallbacks(task: Any) -> dict[str, list[Any]]:
    """For each filter ensemble that searches for an answer, what it gives where it finds none."""
    found: dict[str, list[Any]] = {}
    for ensemble in task._filters:
        values = [
            getattr(step(), name)
            for step in ensemble.filters
            for name in _EXTRACTING
            if hasattr(_filter_class(step), "apply") and hasattr(step(), name)
        ]
        if values:
            found[ensemble.name] = values
    return found


def _filter_class(step: Any) -> Any:
    return step.func if isinstance(step, partial) else step
