"""What a user sees while a run goes on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from evalkit.engine.tally import Tally
from evalkit.records import Usage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Clock = Callable[[], float]

#: Seconds between two drawings on a terminal, and between two lines elsewhere.
REDRAW_S = 0.25
LINE_S = 10.0


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


def progress_for(
    *,
    quiet: bool = False,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Observer:
    """The observer that suits where the output goes: a terminal, a log file, or nobody."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return SilentProgress()
    if not stream.isatty():
        return PlainProgress(stream)
    from rich.console import Console

    console = Console(file=stream, _environ=environ)
    # such a terminal cannot draw over what it has shown
    return PlainProgress(stream) if console.is_dumb_terminal else RichProgress(console)


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


class SteadyProgress:
    """Passes on to another observer until its output breaks; a lost terminal ends no run."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def start(self, tallies: Mapping[str, Tally]) -> None:
        """Pass on."""
        self._try(lambda: self._observer.start(tallies))

    def tick(self) -> None:
        """Pass on."""
        self._try(self._observer.tick)

    def note(self, text: str) -> None:
        """Pass on."""
        self._try(lambda: self._observer.note(text))

    def stop(self) -> None:
        """Pass on."""
        self._try(self._observer.stop)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError:
            # whoever was watching has gone (a closed terminal or pipe): nobody is left to tell
            self._observer = SilentProgress()


class PlainProgress:
    """Writes a line a model now and then: for log files and pipes.

    Args:
        stream: Where to write; standard error by default.
        every_s: Seconds between two lines of one model.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every_s: float = LINE_S,
        clock: Clock = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._every_s, self._clock = every_s, clock
        self._pace = Pace(clock)
        self._tallies: Mapping[str, Tally] = {}
        self._shown = clock()

    def start(self, tallies: Mapping[str, Tally]) -> None:
        """Remember what to show."""
        self._tallies, self._shown = tallies, self._clock()

    def tick(self) -> None:
        """Write the lines if it is time."""
        for tally in self._tallies.values():
            self._pace.look(tally)
        if self._clock() - self._shown >= self._every_s:
            self._show()

    def note(self, text: str) -> None:
        """Write the line at once."""
        print(text, file=self._stream, flush=True)

    def stop(self) -> None:
        """Write how it ended."""
        self._show()

    def _show(self) -> None:
        self._shown = self._clock()
        for tally in list(self._tallies.values()):
            parts = [part for part in progress_cells(tally, self._pace) if part]
            self.note(", ".join(parts))


class RichProgress:
    """Draws a table in a terminal, a row a model.

    Args:
        console: Where to draw.
        clock: Monotonic seconds.
    """

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        from rich.live import Live

        self._console, self._clock = console, clock
        self._pace = Pace(clock)
        self._tallies: Mapping[str, Tally] = {}
        self._drawn = float("-inf")
        # drawn from `tick` alone: no thread, and never faster than REDRAW_S
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def start(self, tallies: Mapping[str, Tally]) -> None:
        """Begin to draw."""
        self._tallies = tallies
        self._live.start()

    def tick(self) -> None:
        """Draw if it is time."""
        now = self._clock()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._live.update(self._table(), refresh=True)

    def note(self, text: str) -> None:
        """Write the line above the table."""
        self._console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Take the table away: the final one follows."""
        self._live.stop()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        for tally in list(self._tallies.values()):
            self._pace.look(tally)
            table.add_row(*(Text(cell) for cell in progress_cells(tally, self._pace)))
        return table


class Pace:
    """How many samples a second are done lately: over the last half minute."""

    WINDOW_S = 30.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, list[tuple[float, int]]] = {}

    def look(self, tally: Tally) -> None:
        """Remember where `tally` stands now; one look a second is enough."""
        now, seen = self._clock(), self._seen.setdefault(tally.model, [])
        if seen and now - seen[-1][0] < 1.0:
            return
        seen.append((now, tally.samples_done))
        while len(seen) > 2 and now - seen[0][0] > self.WINDOW_S:
            seen.pop(0)

    def rate(self, tally: Tally) -> float:
        """Samples a second; 0 where nothing can be said yet."""
        seen = self._seen.get(tally.model)
        if not seen:
            return 0.0
        then, done = seen[0]
        seconds = self._clock() - then
        return (tally.samples_done - done) / seconds if seconds > 0 else 0.0

    def seconds_left(self, tally: Tally) -> float | None:
        """Until the last known sample; None where nothing can be said."""
        rate, left = self.rate(tally), tally.samples_total - tally.samples_done
        return left / rate if rate > 0 and left > 0 else None


def progress_cells(tally: Tally, pace: Pace) -> tuple[str, ...]:
    """What is shown of a model: name, samples, rate, time left, tokens, cost, trouble."""
    # a job that is not loaded yet has samples that nobody has counted
    more = "+" if tally.jobs_waiting else ""
    left = pace.seconds_left(tally)
    usage = tally.usage
    return (
        tally.model,
        f"{tally.samples_done:,}/{tally.samples_total:,}{more} samples",
        f"{pace.rate(tally):,.1f}/s",
        "" if left is None else f"{_duration(left)}{more} left",
        f"{usage.input_tokens:,} in{_cached(usage)}, {usage.output_tokens:,} out",
        "" if tally.cost is None else f"${tally.cost:.4f}",
        f"{tally.from_journal:,} from the journal" if tally.from_journal else "",
        _trouble(tally),
    )


def _cached(usage: Usage) -> str:
    """How much of the input a provider read from its prefix cache, where it says so."""
    share = usage.cached_tokens / max(1, usage.input_tokens)
    return f" ({share:.0%} cached)" if usage.cached_tokens else ""


def _trouble(tally: Tally) -> str:
    parts = [f"{number:,} {kind}" for kind, number in sorted(tally.failures.items())]
    told = f"failed attempts: {', '.join(parts)}" if parts else ""
    lost = f"{tally.samples_failed:,} samples failed" if tally.samples_failed else ""
    return "; ".join(part for part in (lost, told) if part)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
