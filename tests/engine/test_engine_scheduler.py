import asyncio
import threading
import weakref

import pytest
from engine_world import Failing, SmallModel, SmallTask, upper

from evalkit.engine.flow import CHUNK
from evalkit.engine.jobs import Job
from evalkit.engine.journal import Journal
from evalkit.engine.settings import EngineSettings
from evalkit.errors import DataError, RequestError, TransientError
from evalkit.records import Request, Response, Sample, Score, Usage
from evalkit.tasks.protocol import TaskInfo


def job(model=None, task=None, *, limit=None, name="") -> Job:
    task = task or SmallTask()
    name = name or task.info.name
    return Job(model=model or SmallModel(), load=lambda: task, limit=limit, name=name)


# --- the ordinary way


async def test_every_sample_is_asked_and_scored(journal, collected):
    await collected.run(journal, job(task=SmallTask(100)))
    assert [score.values for score in collected.scores] == [{"acc": 1.0}] * 100


async def test_a_sample_ends_with_all_that_was_asked(journal, collected):
    await collected.run(journal, job(task=SmallTask(1, each=3)))
    [one] = collected.finished
    assert [str(r.prompt).upper() for r in one.requests] == [a.text for a in one.responses]


async def test_a_job_is_done_when_its_samples_are(journal, collected):
    outcome = await collected.run(journal, job(task=SmallTask(name="a")), job(name="b"))
    assert sorted(collected.done) == ["a", "b"]
    assert [one.complete for one in outcome.jobs] == [True, True]


@pytest.mark.parametrize(("limit", "number"), [(3, 3), (0.25, 3), (None, 10), (99, 10)])
async def test_a_limit_takes_the_first_samples(journal, collected, limit, number):
    await collected.run(journal, job(limit=limit))
    assert {one.sample.index for one in collected.finished} == set(range(number))


async def test_an_empty_task_is_complete(journal, collected):
    outcome = await collected.run(journal, job(task=SmallTask(0)))
    assert (outcome.jobs[0].complete, outcome.jobs[0].samples) == (True, 0)


async def test_no_jobs_are_no_work(journal, collected):
    assert (await collected.run(journal)).jobs == ()


async def test_the_outcome_counts(journal, collected):
    outcome = await collected.run(journal, job(task=SmallTask(10, each=2)))
    [one], small = outcome.jobs, outcome.models["small"]
    assert (one.name, one.model, one.samples, one.statuses) == ("small", "small", 10, {"ok": 10})
    assert (small.requests, small.sent, small.answered) == (20, 20, 20)
    assert small.usage == Usage(input_tokens=200, output_tokens=40)


async def test_everything_is_journaled_when_a_run_ends(tmp_path, collected):
    with Journal(tmp_path / "j") as journal:
        await collected.run(journal, job(task=SmallTask(50)))
        assert journal._unsaved == {}


# --- several turns


class Turns(SmallTask):
    """Asks on, with the last answer in the next question, three times."""

    def requests(self, sample, answers):
        if len(answers) == 3:
            return []
        last = answers[-1].text if answers else "start"
        return [Request(kind="generate", prompt=f"{sample.id} {last} {len(answers)}")]


async def test_a_task_asks_on_until_it_has_nothing_more_to_ask(journal, collected):
    await collected.run(journal, job(task=Turns(5)))
    assert {len(one.responses) for one in collected.finished} == {3}


async def test_each_turn_sees_the_answers_before(journal, collected):
    await collected.run(journal, job(task=Turns(1)))
    [one] = collected.finished
    assert one.responses[1].text.startswith(f"SMALL-0 {one.responses[0].text}")


class Together(SmallTask):
    scores_together = True

    def score_all(self, answered):
        number = len(answered)
        return [Score(values={"place": (sample.index, number)}) for sample, _ in answered]


async def test_a_task_scored_together_gets_all_samples_in_order(journal, collected):
    await collected.run(journal, job(task=Together(100)))
    assert [score.values["place"] for score in collected.scores] == [(n, 100) for n in range(100)]


async def test_samples_without_an_answer_are_not_scored_together(journal, collected):
    model = SmallModel(Failing(RequestError("too long"), only="q 4"))
    await collected.run(journal, job(model, Together(10)))
    assert sorted(collected.statuses) == ["error"] + ["ok"] * 9


async def test_a_task_that_miscounts_its_scores_is_unscored(journal, collected):
    task = Together(3)
    task.score_all = lambda answered: []
    await collected.run(journal, job(task=task))
    assert [s.note for s in collected.scores] == ["ValueError: 0 scores for 3 samples"] * 3


# --- statuses


@pytest.mark.parametrize("status", ["truncated", "refused", "filtered"])
async def test_how_an_answer_ended_is_the_status_of_the_score(journal, collected, status):
    model = SmallModel(lambda request: Response(text="X", status=status))
    await collected.run(journal, job(model, SmallTask(1)))
    assert collected.scores == [Score(status=status, values={"acc": 1.0})]


async def test_what_the_scorer_says_goes_before(journal, collected):
    task = SmallTask(1)
    task.score = lambda sample, answers: Score(status="unparsed", values={"acc": 0.0})
    model = SmallModel(lambda request: Response(text="X", status="truncated"))
    await collected.run(journal, job(model, task))
    assert collected.statuses == ["unparsed"]


async def test_a_failed_request_is_an_error_and_never_scored(journal, collected):
    task = SmallTask(1, each=3)
    task.score = lambda sample, answers: pytest.fail("scored")
    await collected.run(journal, job(SmallModel(Failing(RequestError("no"), only="q 0 1")), task))
    assert collected.scores == [Score(status="error", note="bad_request: no")]


async def test_a_scorer_that_fails_leaves_the_sample_unscored(journal, collected):
    task = SmallTask(2)
    task.score = lambda sample, answers: {}["verdict"]
    outcome = await collected.run(journal, job(task=task))
    assert collected.scores == [Score(status="unscored", note="KeyError: 'verdict'")] * 2
    assert outcome.jobs[0].problems == (
        "sample small-0: KeyError: 'verdict'",
        "sample small-1: KeyError: 'verdict'",
    )


async def test_lost_samples_are_counted_by_kind(journal, collected, time):
    model = SmallModel(Failing(*[TransientError("x", status_code=500)] * 9, only="q 3"))
    more = {"clock": time.clock, "sleep": time.sleep}
    settings = EngineSettings(max_attempts=2)
    outcome = await collected.run(journal, job(model), settings=settings, **more)
    assert outcome.jobs[0].statuses == {"ok": 9, "error": 1}
    assert outcome.jobs[0].lost == {"server_error": 1}
    assert outcome.models["small"].lost == {"server_error": 1}


# --- tasks that cannot be run


async def test_a_task_that_cannot_be_loaded_leaves_the_others_alone(journal, collected):
    def gone():
        raise DataError("rows are missing: run `evalkit data pull`")

    outcome = await collected.run(
        journal, Job(model=SmallModel(), load=gone, name="gone"), job(name="there")
    )
    gone_one, there = outcome.jobs
    assert gone_one.failure == "rows are missing: run `evalkit data pull`"
    assert (gone_one.complete, there.complete) == (False, True)


async def test_a_loader_that_breaks_is_reported(journal, collected):
    outcome = await collected.run(journal, Job(model=SmallModel(), load=lambda: 1 / 0, name="x"))
    assert outcome.jobs[0].failure == "could not be loaded: ZeroDivisionError: division by zero"


async def test_samples_that_end_in_an_exception_are_reported(journal, collected):
    class Breaking(SmallTask):
        def samples(self, limit):
            yield from super().samples(5)
            raise ValueError("row 5 is torn")

    outcome = await collected.run(journal, job(task=Breaking(10)), job(name="next"))
    assert outcome.jobs[0].failure == "its samples could not be read: ValueError: row 5 is torn"
    assert [one.complete for one in outcome.jobs] == [False, True]
    assert collected.done == ["next"]


async def test_a_sample_that_cannot_be_asked_is_named(journal, collected):
    class Picky(SmallTask):
        def requests(self, sample, answers):
            if sample.index == 3:
                raise KeyError("choices")
            return super().requests(sample, answers)

    outcome = await collected.run(journal, job(task=Picky(5)))
    assert outcome.jobs[0].statuses == {"ok": 4, "error": 1}
    assert outcome.jobs[0].problems == ("sample small-3: requests: KeyError: 'choices'",)


async def test_a_callback_that_fails_ends_the_run(journal):
    from evalkit.engine.scheduler import run_jobs

    def full(job, one):
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        await run_jobs(
            [job(task=SmallTask(1000))],
            journal=journal,
            on_finished=full,
            on_job_done=lambda job, task: None,
        )


# --- one flow


async def test_the_next_task_starts_before_the_last_answers_of_this_one(journal, collected):
    hold = asyncio.Event()

    class Slow(SmallModel):
        async def ask(self, requests):
            if "first q 9" in str(requests[0].prompt):
                await hold.wait()
            if "second" in str(requests[0].prompt):
                hold.set()
            return [upper(request) for request in requests]

    tasks = [SmallTask(10, name="first"), SmallTask(10, name="second")]
    model = Slow()
    await asyncio.wait_for(collected.run(journal, *(job(model, task) for task in tasks)), 10)
    assert sorted(collected.done) == ["first", "second"]


async def test_models_run_at_once(journal, collected):
    both = {"a": asyncio.Event(), "b": asyncio.Event()}

    class Meeting(SmallModel):
        async def ask(self, requests):
            both[self.name].set()
            await both["b" if self.name == "a" else "a"].wait()
            return [upper(request) for request in requests]

    jobs = [job(Meeting(name=name), SmallTask(3)) for name in both]
    outcome = await asyncio.wait_for(collected.run(journal, *jobs), 10)
    assert [one.complete for one in outcome.jobs] == [True, True]


async def test_tasks_are_touched_by_one_thread_only(journal, collected):
    seen = set()

    class Watched(SmallTask):
        def samples(self, limit):
            for sample in super().samples(limit):
                seen.add(threading.get_ident())
                yield sample

        def requests(self, sample, answers):
            seen.add(threading.get_ident())
            return super().requests(sample, answers)

        def score(self, sample, answers):
            seen.add(threading.get_ident())
            return super().score(sample, answers)

    def load():
        seen.add(threading.get_ident())
        return Watched(50)

    jobs = [Job(model=SmallModel(name=name), load=load, name="w") for name in ("a", "b")]
    await collected.run(journal, *jobs)
    assert len(seen) == 1
    assert seen != {threading.get_ident()}


async def test_heavy_scoring_has_threads_of_its_own(journal, collected):
    building, scoring = set(), set()

    class Heavy(SmallTask):
        info = None

        def __init__(self):
            super().__init__(20)
            self.info = TaskInfo(name="heavy", kind="declarative", heavy_scoring=True)

        def requests(self, sample, answers):
            building.add(threading.get_ident())
            return super().requests(sample, answers)

        def score(self, sample, answers):
            scoring.add(threading.get_ident())
            return super().score(sample, answers)

    await collected.run(journal, job(task=Heavy()))
    assert not building & scoring


async def test_the_first_request_leaves_before_the_second_sample_is_built(journal, collected):
    built: list[int] = []
    built_when_asked: list[int] = []

    class Watched(SmallTask):
        def requests(self, sample, answers):
            if not answers:
                built.append(sample.index)
            return super().requests(sample, answers)

        def samples(self, limit):
            for sample in super().samples(limit):
                if sample.index == 1:
                    asked.wait(5)
                yield sample

    asked = threading.Event()

    def answer(request):
        built_when_asked.append(len(built))
        asked.set()
        return upper(request)

    await collected.run(journal, job(SmallModel(answer), Watched(3)))
    assert built_when_asked[0] == 1


async def test_a_later_task_is_loaded_only_when_its_turn_comes(journal, collected):
    asked_before = []
    model = SmallModel()

    def load():
        asked_before.append(len(model.asked))
        return SmallTask(name="late")

    early = job(model, SmallTask(500, name="early"))
    await collected.run(journal, early, Job(model=model, load=load, name="late"))
    assert asked_before[0] > 300


@pytest.mark.parametrize(("concurrency", "batch"), [(4, 1), (1, 8)])
async def test_samples_alive_do_not_grow_with_the_task(journal, concurrency, batch):
    alive: weakref.WeakSet = weakref.WeakSet()
    worst = 0

    class Doc(dict):
        __hash__ = object.__hash__

    class Many(SmallTask):
        def samples(self, limit):
            nonlocal worst
            for index in range(self.number):
                doc = Doc(q=f"q {index}")
                alive.add(doc)
                worst = max(worst, len(alive))
                yield Sample(id=str(index), index=index, doc=doc)

    from evalkit.engine.scheduler import run_jobs

    model = SmallModel(concurrency=concurrency, batch=batch)
    model.ask = lambda requests: _answer(requests)
    await run_jobs(
        [job(model, Many(3000))],
        journal=journal,
        on_finished=lambda job, one: None,
        on_job_done=lambda job, task: None,
    )
    assert worst <= 2 * concurrency * batch + 3 * CHUNK


async def _answer(requests):
    await asyncio.sleep(0)
    return [upper(request) for request in requests]
