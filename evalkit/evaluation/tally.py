"""What one task took of one model, counted as samples finish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evalkit.records import Mode, Request, Response, Score, Usage
from evalkit.runs import CellRow

#: A failed sample's note is free text; so many different ones are kept apart in the counts.
_MOST_NOTES = 20
_NOTE_LENGTH = 160


@dataclass(slots=True)
class Tally:
    """Counts of one (model, task); memory does not grow with the samples."""

    model: str
    task: str
    mode: Mode
    cost_of: Callable[[Usage], float | None]
    statuses: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None

    def add(self, requests: Sequence[Request], responses: Sequence[Response], score: Score) -> None:
        """Count one finished sample."""
        self.statuses[score.status] += 1
        self.requests += len(requests)
        for response in responses:
            self._spend(response.usage)
        if score.note and score.status in ("error", "unscored"):
            self._note(score.note[:_NOTE_LENGTH])

    def _spend(self, usage: Usage) -> None:
        self.usage = self.usage + usage
        # per answer, because long prompts have prices of their own
        cost = self.cost_of(usage)
        if cost is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost

    def _note(self, note: str) -> None:
        known = note in self.notes or len(self.notes) < _MOST_NOTES
        self.notes[note if known else "other"] += 1

    @property
    def total(self) -> int:
        """Samples that finished, however they ended."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Samples lost to infrastructure."""
        return self.statuses["error"]

    def row(self) -> CellRow:
        """The counts as a record."""
        return CellRow(
            model=self.model,
            task=self.task,
            mode=self.mode,
            total=self.total,
            statuses=dict(self.statuses),
            requests=self.requests,
            usage=self.usage,
            cost_usd=self.cost_usd,
            notes=dict(self.notes),
        )
