import asyncio
import threading

import pytest
from engine_world import Collected, Failing, SmallModel, SmallTask, upper

from evalkit.engine.jobs import Job
from evalkit.engine.journal import Journal
from evalkit.engine.settings import EngineSettings
from evalkit.errors import AccessError, RequestError
from evalkit.records import Response


def job(model=None, task=None, *, limit=None, name="") -> Job:
    task = task or SmallTask()
    name = name or task.info.name
    return Job(model=model or SmallModel(), load=lambda: task, limit=limit, name=name)


# --- going on


async def test_a_second_run_asks_nothing_that_is_answered(tmp_path):
    for _ in range(2):
        model, collected = SmallModel(), Collected()
        with Journal(tmp_path / "j") as journal:
            outcome = await collected.run(journal, job(model, SmallTask(60)))
    assert model.calls == []
    assert outcome.models["small"].from_journal == 60
    assert len(collected.scores) == 60


async def test_a_second_run_asks_exactly_what_is_missing(tmp_path):
    broken = Failing(*[RequestError("x")] * 9, only="q 1")  # q 1, q 10 to q 19
    with Journal(tmp_path / "j") as journal:
        await Collected().run(journal, job(SmallModel(broken), SmallTask(60)))
    model = SmallModel()
    with Journal(tmp_path / "j") as journal:
        await Collected().run(journal, job(model, SmallTask(60)))
    missing = {f"small q {number} 0" for number in (1, *range(10, 20))}
    assert {request.prompt for request in model.asked} == missing


async def test_a_new_epoch_asks_everything_again(tmp_path):
    for _ in range(2):
        model = SmallModel()
        with Journal(tmp_path / "j") as journal:
            journal.new_epoch()
            await Collected().run(journal, job(model, SmallTask(20)))
    assert len(model.asked) == 20


# --- stopping


async def test_without_access_the_run_stops_and_says_why(journal, collected):
    model = SmallModel(Failing(*[AccessError("no such key", status_code=401)] * 9))
    outcome = await collected.run(journal, job(model, SmallTask(5000)), job(model, name="next"))
    assert outcome.stopped == "small: no such key"
    assert len(model.calls) <= model.concurrency
    assert [one.complete for one in outcome.jobs] == [False, False]


async def test_other_models_end_their_jobs(journal, collected):
    dead = SmallModel(Failing(*[AccessError("no such key")] * 9), name="dead")
    outcome = await collected.run(journal, job(dead, SmallTask(50)), job(SmallModel(), name="b"))
    assert [one.complete for one in outcome.jobs] == [False, True]


async def test_the_cost_limit_stops_the_run_for_resuming(tmp_path):
    def price(model, usage):
        return 0.01

    asked = []
    for limit in (0.5, 5.0):
        model = SmallModel()
        with Journal(tmp_path / "j") as journal:
            outcome = await Collected().run(
                journal,
                job(model, SmallTask(100)),
                price=price,
                settings=EngineSettings(max_cost=limit),
            )
        asked += model.asked
    assert (outcome.stopped, outcome.jobs[0].complete) == ("", True)
    assert len(asked) == 100


async def test_a_full_disk_stops_the_run(tmp_path, collected):
    journal = Journal(tmp_path / "j")
    journal._writing.execute("PRAGMA max_page_count = 1")
    model = SmallModel(lambda request: Response(text="X" * 100_000))
    outcome = await asyncio.wait_for(collected.run(journal, job(model, SmallTask(2000))), 20)
    assert "cannot be written any more" in outcome.stopped
    with pytest.raises(Exception, match="cannot be written"):
        journal.close()


async def test_a_cancelled_run_leaves_its_answers_in_the_journal(tmp_path, collected):
    gate = asyncio.Event()

    def answer(request):
        if "q 30" in str(request.prompt):
            gate.set()
        return upper(request)

    with Journal(tmp_path / "j") as journal:
        model = SmallModel(answer, concurrency=1)
        running = asyncio.create_task(collected.run(journal, job(model, SmallTask(5000))))
        await gate.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert journal.counts().responses >= 30
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []


async def test_a_loader_that_takes_for_ever_does_not_hold_a_stopped_run(journal, collected):
    loading, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    paid = SmallModel(name="paid", pause=loading.wait)
    other = SmallModel(name="other", provider="there")

    def load():
        loop.call_soon_threadsafe(loading.set)
        release.wait(30)
        return SmallTask()

    def price(model, usage):
        return 10.0 if loading.is_set() else 0.0

    jobs = [
        job(paid, SmallTask(50)),
        job(other, SmallTask(1)),
        Job(model=other, load=load, name="slow"),
    ]
    settings = EngineSettings(max_cost=3.0, grace_s=0.1)
    running = collected.run(journal, *jobs, price=price, settings=settings)
    outcome = await asyncio.wait_for(running, 20)
    release.set()
    assert "cost limit" in outcome.stopped
