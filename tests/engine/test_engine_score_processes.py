"""Scoring in other processes: what is scored there, and what their ends do to a run."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from engine_world import SmallModel
from scored_tasks import Misbehaving, Recipe

from evalkit.engine.jobs import Job, score_sample
from evalkit.engine.score_pool import ScorePool
from evalkit.engine.score_process import LoadError, clean_environment
from evalkit.engine.scoring import HEAVY_S, WINDOW, Backlog, Meter
from evalkit.engine.settings import EngineSettings
from evalkit.records import Response, Sample, Score

SAMPLE = Sample(id="0", index=0, doc={"pair": (1, 2)})


def answer(text: str) -> tuple[Response, ...]:
    return (Response(text=text),)


@pytest.fixture
async def pool():
    made = ScorePool(limit_s=30, processes=1)
    yield made
    made.close()


async def scored(pool, text: str) -> Score:
    [score] = await pool.score(Misbehaving(), Recipe(), SAMPLE, answer(text))
    return score


def odd_job(*prompts: str, recipe: bool = True, **options) -> Job:
    task = Misbehaving(prompts, **options)
    made = Recipe(prompts, options) if recipe else None
    return Job(model=SmallModel(), load=lambda: task, recipe=made, name="odd")


def by_index(collected) -> list[Score]:
    return [one.score for one in sorted(collected.finished, key=lambda one: one.sample.index)]


# --- one process


async def test_a_sample_is_scored_in_the_main_thread_of_another_process(pool):
    score = await scored(pool, "where")
    assert score.values["main"] is True
    assert score.values["pid"] != os.getpid()


@pytest.mark.parametrize("text", ["odd", "raise"])
async def test_the_score_is_the_one_that_this_process_gives(pool, text):
    here = score_sample(Misbehaving(), SAMPLE, answer(text))
    assert repr(await scored(pool, text)) == repr(here)


async def test_a_process_is_used_again(pool):
    assert (await scored(pool, "where")) == (await scored(pool, "where"))
    assert pool.started == 1


async def test_what_scoring_prints_does_not_disturb(pool):
    assert [(await scored(pool, text)).status for text in ("print", "read", "where")] == ["ok"] * 3
    assert pool.started == 1


async def test_a_score_that_cannot_be_sent_is_unscored(pool):
    score = await scored(pool, "unfit")
    assert score.status == "unscored"
    assert "object" in score.note


async def test_no_secret_reaches_a_process(pool, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    environ = (await scored(pool, "facts")).values["environ"]
    assert not {"OPENAI_API_KEY", "HF_TOKEN"} & set(environ)


def test_what_is_no_secret_stays_in_the_environment():
    environ = {"PATH": "/bin", "TOKENIZERS_PARALLELISM": "0", "HF_HOME": "/h", "MY_PASSWORD": "x"}
    assert set(clean_environment(environ)) == {"PATH", "TOKENIZERS_PARALLELISM", "HF_HOME"}


async def test_a_process_is_out_of_ctrl_cs_way(pool):
    assert (await scored(pool, "facts")).values["group"] != os.getpgrp()


# --- processes that end


@pytest.mark.parametrize(("text", "how"), [("exit", "exit code 7"), ("crash", "signal 11")])
async def test_a_sample_that_ends_its_process_is_unscored(pool, text, how):
    score = await scored(pool, text)
    assert score == Score(status="unscored", note=f"the scoring process ended ({how})")


async def test_the_process_is_replaced(pool):
    await scored(pool, "exit")
    assert (await scored(pool, "where")).status == "ok"


async def test_a_sample_whose_process_ended_is_tried_once_more(pool, tmp_path):
    assert (await scored(pool, f"once {tmp_path}/seen".lower())).values == {"acc": 1.0}


async def test_a_sample_that_hangs_is_unscored_and_others_are_not():
    pool = ScorePool(limit_s=0.5, processes=1)
    try:
        assert (await scored(pool, "where")).status == "ok"
        score = await scored(pool, "hang")
        assert score == Score(status="unscored", note="scoring took longer than 0.5 s")
        assert (await scored(pool, "where")).status == "ok"
    finally:
        pool.close()


async def test_closing_leaves_no_process():
    pool = ScorePool(limit_s=30, processes=1)
    pid = (await scored(pool, "where")).values["pid"]
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PARENT = textwrap.dedent(
    """
    import asyncio, sys
    sys.path[:0] = sys.argv[1:]
    from scored_tasks import Misbehaving, Recipe
    from evalkit.engine.score_pool import ScorePool
    from evalkit.records import Response, Sample

    async def main():
        pool, sample = ScorePool(limit_s=120, processes=1), Sample(id="0", index=0, doc={})
        ask = lambda text: pool.score(Misbehaving(), Recipe(), sample, (Response(text=text),))
        print((await ask("where"))[0].values["pid"], flush=True)
        await ask("hang")

    asyncio.run(main())
    """
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere it ends a while later")
def test_no_process_outlives_a_parent_that_is_killed():
    here = Path(__file__).parent
    command = [sys.executable, "-c", PARENT, str(here), str(here.parents[1])]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ends(pid)


def ends(pid: int) -> bool:
    """Whether the process is gone, or is but a name that its new parent has yet to strike out."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


# --- tasks that another process cannot load


@pytest.mark.parametrize(
    ("recipe", "why"),
    [(Recipe(failure="no rows"), "no rows"), (Recipe(fingerprint="other"), "not the same task")],
)
async def test_a_task_that_is_not_there_is_an_error(pool, recipe, why):
    with pytest.raises(LoadError, match=why):
        await pool.score(Misbehaving(), recipe, SAMPLE, answer("where"))


async def test_old_tasks_make_room_for_new_ones(pool):
    for number in range(10):
        recipe = Recipe(prompts=(str(number),))
        [score] = await pool.score(Misbehaving(), recipe, SAMPLE, answer("where"))
        assert score.status == "ok"
    [score] = await pool.score(Misbehaving(), Recipe(prompts=("0",)), SAMPLE, answer("where"))
    assert score.status == "ok"


# --- a run


async def test_a_task_that_needs_a_main_thread_gets_one(journal, collected):
    await collected.run(journal, odd_job("alarm", "alarm"))
    assert [score.values for score in collected.scores] == [{"acc": 1.0}] * 2


async def test_without_a_recipe_it_is_scored_here(journal, collected):
    await collected.run(journal, odd_job("where", recipe=False))
    assert collected.scores[0].values["pid"] == os.getpid()


async def test_one_bad_sample_leaves_the_others_their_scores(journal, collected):
    await collected.run(journal, odd_job("alarm", "exit", "alarm", "raise", "alarm"))
    statuses = [score.status for score in by_index(collected)]
    assert statuses == ["ok", "unscored", "ok", "unscored", "ok"]


async def test_a_run_says_how_long_a_sample_may_be_scored(journal, collected):
    settings = EngineSettings(scoring_s=0.5)
    await collected.run(journal, odd_job("hang", "where"), settings=settings)
    assert by_index(collected)[0].note == "scoring took longer than 0.5 s"


async def test_a_whole_task_is_scored_in_one_process(journal, collected):
    await collected.run(journal, odd_job("where", "where", together=True))
    first, second = collected.scores
    assert first.values == second.values
    assert first.values["pid"] != os.getpid()


async def test_scoring_that_computes_for_long_moves_to_other_processes(
    journal, collected, monkeypatch
):
    monkeypatch.setattr("evalkit.engine.scoring.WORTH_S", 0.0)
    number = WINDOW * 4
    await collected.run(journal, odd_job(*["spend"] * number, main_thread=False))
    here = [score.values["pid"] == os.getpid() for score in collected.scores]
    assert len(here) == number
    assert WINDOW < sum(here) < number / 2


async def test_where_no_other_process_can_load_it_it_stays(journal, collected, monkeypatch):
    monkeypatch.setattr("evalkit.engine.scoring.WORTH_S", 0.0)
    prompts = ("spend",) * WINDOW * 4
    task = Misbehaving(prompts, main_thread=False)
    recipe = Recipe(failure="not at hand")
    job = Job(model=SmallModel(), load=lambda: task, recipe=recipe, name="odd")
    await collected.run(journal, job)
    assert {score.values["pid"] for score in collected.scores} == {os.getpid()}


async def test_a_wrong_place_is_worse_than_no_score(journal, collected):
    task = Misbehaving(("where",))
    recipe = Recipe(failure="not at hand")
    job = Job(model=SmallModel(), load=lambda: task, recipe=recipe, name="odd")
    await collected.run(journal, job)
    assert [score.status for score in collected.scores] == ["unscored"]
    assert "not at hand" in collected.scores[0].note


# --- what decides


class Ticking:
    """A clock that takes `seconds` a reading."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def metered(seconds: float, samples: int) -> Meter:
    meter = Meter(clock=Ticking(seconds))
    for _ in range(samples):
        meter.measure(Misbehaving(), SAMPLE, answer("odd"))
    return meter


def test_scoring_is_judged_once_a_window_is_full():
    assert not metered(1.0, WINDOW).is_heavy(left=1000)
    assert metered(1.0, WINDOW + 1).is_heavy(left=1000)


def test_the_first_sample_does_not_count():
    meter = metered(100.0, 1)
    meter.clock = Ticking(0.0)
    for _ in range(WINDOW):
        meter.measure(Misbehaving(), SAMPLE, answer("odd"))
    assert meter.mean_s == 0.0


def test_light_scoring_stays():
    assert not metered(HEAVY_S / 2, WINDOW * 2 + 1).is_heavy(left=1_000_000)


def test_a_few_samples_more_are_not_worth_a_process():
    assert not metered(0.01, WINDOW + 1).is_heavy(left=10)


def test_a_backlog_has_room_until_it_is_full():
    backlog = Backlog(most=10)
    assert [backlog.take(6), backlog.take(6), backlog.take(4)] == [True, False, True]
    backlog.give_back(6)
    assert backlog.take(6)
