"""What a user sees while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from evalkit.engine.tally import Tally


class Observer(Protocol):
    """Watches a run: it reads the engine's counters when it is told that time has passed."""

    def start(self, tallies: Mapping[str, Tally]) -> None:
        """The run begins; `tallies` (by model) change while it goes on."""
        ...

    def tick(self) -> None:
        """Called a few times a second; must be quick."""
        ...

    def note(self, text: str) -> None:
        """One line that the user should see."""
        ...

    def stop(self) -> None:
        """The run has ended."""
        ...


class SilentProgress:
    """Shows nothing."""

    def start(self, tallies: Mapping[str, Tally]) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""
