"""Scorers by name: evalkit's own, and those that installed packages add.

A package adds one through the entry point group `evalkit.scorers`:

    [project.entry-points."evalkit.scorers"]
    rhymes = "my_package.rhymes:SCORER"

where `SCORER` is an `evalkit.scoring.scorer.Scorer`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import msgspec

from evalkit.errors import ConfigError, UnknownNameError
from evalkit.records import Response, Sample, Score
from evalkit.scoring.scorer import Scorer

GROUP = "evalkit.scorers"
_BUILT_IN = {
    "code": "evalkit.scoring.code:CODE",
    "contains": "evalkit.scoring.text:CONTAINS",
    "exact_match": "evalkit.scoring.text:EXACT_MATCH",
    "f1": "evalkit.scoring.text:F1",
    "grid": "evalkit.scoring.grid:GRID",
    "needle": "evalkit.scoring.needle:NEEDLE",
    "number": "evalkit.scoring.numbers:NUMBER",
    "reasoning_gym": "evalkit.scoring.reasoning_gym:REASONING_GYM",
    "tool_calls": "evalkit.scoring.tool_calls:TOOL_CALLS",
}


@dataclass(frozen=True)
class BoundScorer:
    """A scorer with its parameters."""

    scorer: Scorer[Any]
    params: Any

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the values that it gives."""
        return self.scorer.metrics(self.params)

    @property
    def identity(self) -> dict[str, Any]:
        """What can change a verdict: name, version and parameters."""
        return {
            "name": self.scorer.name,
            "version": self.scorer.version,
            "params": msgspec.to_builtins(self.params),
        }

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        """The verdict on one sample's answers."""
        return self.scorer.score(sample, answers, self.params)

    def check(self, repeats: int) -> None:
        """Raise an `InputError` if it cannot score so many answers a sample, or not here."""
        self.scorer.check(self.params, repeats)


def scorer_names() -> list[str]:
    """All scorers that can be named."""
    return sorted({*_BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


def bind(name: str, params: Mapping[str, Any]) -> BoundScorer:
    """The scorer `name` with its parameters read from a definition.

    Raises:
        UnknownNameError: There is no such scorer, or it has no such parameter.
        ConfigError: A parameter is of the wrong type, or missing.
    """
    scorer = _load(name)
    known = scorer.params.__struct_fields__
    for key in params:
        if key not in known:
            raise UnknownNameError(f"parameter of scorer {name!r}:", key, known)
    try:
        return BoundScorer(scorer, msgspec.convert(dict(params), scorer.params))
    except msgspec.ValidationError as error:
        raise ConfigError(f"scorer {name!r}: {error}") from None


def _load(name: str) -> Scorer[Any]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        found = _from_entry_point(name)
    if not isinstance(found, Scorer):
        raise ConfigError(
            f"entry point {name!r} of {GROUP} gives a {type(found).__name__}, not a Scorer"
        )
    return found


def _from_entry_point(name: str) -> Any:
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    raise UnknownNameError("scorer", name, scorer_names())
