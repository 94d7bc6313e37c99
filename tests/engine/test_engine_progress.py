import io
from collections import Counter

import pytest
from engine_world import SmallModel, SmallTask
from rich.console import Console

from evalkit.engine.jobs import Job
from evalkit.engine.progress import (
    Pace,
    PlainProgress,
    RichProgress,
    SilentProgress,
    SteadyProgress,
    progress_cells,
    progress_for,
)
from evalkit.engine.tally import Tally
from evalkit.records import Usage


def terminal_console(out):
    return Console(file=out, force_terminal=True, width=200, _environ={"TERM": "xterm"})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def busy() -> Tally:
    return Tally(
        "gpt",
        samples_total=1000,
        samples_done=250,
        samples_failed=2,
        usage=Usage(input_tokens=12_345, output_tokens=678),
        cost=1.5,
        failures=Counter(timeout=3),
    )


def test_a_row_says_what_matters(clock):
    line = ", ".join(progress_cells(busy(), Pace(clock)))
    for part in ("gpt", "250/1,000", "12,345 in, 678 out", "$1.5000", "3 timeout", "2 samples"):
        assert part in line


def test_a_row_says_how_much_came_from_a_prefix_cache(clock):
    tally = busy()
    tally.usage += Usage(cached_tokens=6_000)
    assert "12,345 in (49% cached), 678 out" in progress_cells(tally, Pace(clock))


def test_tasks_that_are_not_loaded_yet_leave_the_total_open(clock):
    tally = busy()
    tally.jobs_waiting = 2
    assert progress_cells(tally, Pace(clock))[1] == "250/1,000+ samples"


def test_the_rate_is_that_of_lately(clock):
    pace, tally = Pace(clock), Tally("m", samples_total=10_000)
    for second in range(120):
        clock.now = float(second)
        tally.samples_done += 1 if second < 60 else 10
        pace.look(tally)
    assert pace.rate(tally) == pytest.approx(10, rel=0.05)
    assert pace.seconds_left(tally) == pytest.approx((10_000 - 660) / 10, rel=0.05)


def test_nothing_is_guessed_before_anything_is_done(clock):
    assert Pace(clock).seconds_left(Tally("m", samples_total=10)) is None


def test_plain_progress_writes_a_line_now_and_then(clock):
    out = io.StringIO()
    progress = PlainProgress(out, every_s=10, clock=clock)
    progress.start({"gpt": busy()})
    for step in range(100):
        clock.now = step / 4
        progress.tick()
    assert out.getvalue().count("\n") == 2


def test_plain_progress_says_how_it_ended(clock):
    out = io.StringIO()
    progress = PlainProgress(out, clock=clock)
    progress.start({"gpt": busy()})
    progress.stop()
    assert "250/1,000" in out.getvalue()


def test_a_terminal_is_drawn_four_times_a_second_at_most(clock):
    out = Terminal()
    console = terminal_console(out)
    progress = RichProgress(console, clock=clock)
    progress.start({"gpt": busy()})
    before = len(out.getvalue())
    progress.tick()
    drawn = len(out.getvalue())
    for _ in range(1000):
        progress.tick()
    assert before < drawn == len(out.getvalue())
    progress.stop()


def test_a_name_with_brackets_is_shown_as_it_is(clock):
    out = Terminal()
    progress = RichProgress(terminal_console(out), clock=clock)
    progress.start({"[red]gpt": Tally("[red]gpt")})
    progress.tick()
    progress.stop()
    assert "[red]gpt" in out.getvalue()


@pytest.mark.parametrize(
    ("stream", "quiet", "term", "kind"),
    [
        (Terminal(), False, "xterm", RichProgress),
        (Terminal(), False, "dumb", PlainProgress),
        (io.StringIO(), False, "xterm", PlainProgress),
        (Terminal(), True, "xterm", SilentProgress),
    ],
)
def test_the_observer_suits_the_output(stream, quiet, term, kind):
    observer = progress_for(quiet=quiet, stream=stream, environ={"TERM": term})
    assert isinstance(observer, kind)


def test_a_lost_terminal_is_only_a_lost_terminal(clock):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress = SteadyProgress(PlainProgress(Gone(), clock=clock))
    progress.start({"gpt": busy()})
    progress.note("x")
    progress.stop()


async def test_a_run_is_shown_to_its_end(journal, collected):
    out = io.StringIO()
    job = Job(model=SmallModel(), load=lambda: SmallTask(20), name="t")
    await collected.run(journal, job, observer=PlainProgress(out))
    assert "20/20 samples" in out.getvalue()
