"""Which worked examples a document gets: the draws of lm-eval's samplers, as places in their pool.

`random.Random.sample` draws the same places from `range(n)` as from a list of n rows, so that no
row need be read for a document that is skipped, nor copied for one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

#: Rows of a pool that are kept to be compared with documents.
_KEPT_ROWS = 1024


class Draws:
    """The worked examples of each document.

    Args:
        task: One of lm-eval's, whose sampler is a standard one (`has_standard_sampler`).
        shots: How many each document gets; at least 1.
    """

    def __init__(self, task: Any, shots: int) -> None:
        from lm_eval.api.samplers import FirstNSampler

        self._task, self._shots = task, shots
        self._first = type(task.sampler) is FirstNSampler
        #: Whether examples come from among the documents, and a document is not one of its own.
        self.apart = task.fewshot_cfg.split == task.config.test_split
        self._rows: dict[int, Any] = {}

    def row(self, place: int) -> Any:
        """The row at `place` of the pool."""
        return self._pool[place]

    def of(self, doc: Any) -> Sequence[int]:
        """The places of the document's examples; draws from the sampler's generator.

        Raises:
            Exception: What the sampler itself raises where the pool is too small.
        """
        other = doc if self.apart else None
        if len(self._pool) < self._shots + bool(other):
            self._task.sampler.sample(n=self._shots, eval_doc=other)
            raise ValueError(f"{len(self._pool)} rows are too few for {self._shots} examples")
        return self._first_places(other) if self._first else self._drawn_places(other)

    @property
    def _pool(self) -> Sequence[Any]:
        pool: Sequence[Any] = self._task.sampler.df
        return pool

    def _first_places(self, other: Any) -> Sequence[int]:
        if other is None:
            return range(self._shots)
        found = [place for _, place in zip(range(self._shots), self._unlike(other), strict=False)]
        assert len(found) == self._shots, f"only {len(found)} rows differ from the document"
        return found

    def _drawn_places(self, other: Any) -> Sequence[int]:
        rnd, places = self._task.sampler.rnd, range(len(self._pool))
        if not other:
            drawn: list[int] = rnd.sample(places, self._shots)
            return drawn
        drawn = [p for p in rnd.sample(places, self._shots + 1) if self._kept(p) != other]
        if len(drawn) < self._shots:  # the document stands in the pool more than once
            return list(rnd.sample(list(self._unlike(other)), self._shots))
        return drawn[: self._shots]

    def _unlike(self, other: Any) -> Iterator[int]:
        return (place for place in range(len(self._pool)) if self._kept(place) != other)

    def _kept(self, place: int) -> Any:
        if place not in self._rows:
            if len(self._rows) >= _KEPT_ROWS:
                self._rows.clear()
            self._rows[place] = self._pool[place]
        return self._rows[place]


def has_standard_sampler(task: Any) -> bool:
    """Whether the task's examples are drawn by one of the two samplers that lm-eval ships."""
    from lm_eval.api.samplers import ContextSampler, FirstNSampler

    sampler: Any = getattr(task, "sampler", None)
    return type(sampler) in (ContextSampler, FirstNSampler) and not sampler.fewshot_indices
