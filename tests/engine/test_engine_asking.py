import asyncio

import pytest
from engine_world import Failing, SmallModel, asker_with, question, too_fast, upper

from evalkit.engine.asking import Asker
from evalkit.engine.journal import Journal
from evalkit.engine.settings import EngineSettings
from evalkit.errors import RequestError, StoppedError
from evalkit.records import Request, Response, Sampling, Usage

# --- answers and the journal


async def test_a_model_answers(asker):
    assert (await asker.ask(SmallModel(), question("hi"))).text == "HI"


async def test_answers_come_in_the_order_asked(asker):
    requests = [question(f"q{number}") for number in range(50)]
    answers = await asker.ask_all(SmallModel(), requests)
    assert [answer.text for answer in answers] == [f"Q{number}" for number in range(50)]


async def test_a_journaled_answer_is_not_asked_again(asker):
    model = SmallModel()
    first = await asker.ask(model, question("hi"))
    second = await asker.ask(model, question("hi"))
    assert (len(model.calls), second) == (1, first)


async def test_another_process_finds_the_answer(tmp_path, time):
    for _ in range(2):
        model = SmallModel()
        with Journal(tmp_path / "j") as journal:
            await asker_with(journal, time).ask(model, question("hi"))
    assert model.calls == []


async def test_answers_of_a_journal_count_as_such(asker):
    model = SmallModel()
    for _ in range(3):
        await asker.ask(model, question("hi"))
    tally = asker.tallies["small"]
    assert (tally.asked, tally.sent, tally.answered, tally.from_journal) == (3, 1, 1, 2)


async def test_the_answer_says_how_long_it_took(asker):
    model = SmallModel(pause=lambda: asyncio.sleep(0.01))
    asker = Asker(asker.journal, EngineSettings())
    assert (await asker.ask(model, question("hi"))).latency_s >= 0.01


# --- identical requests


async def test_identical_requests_in_flight_are_asked_once(asker):
    model = SmallModel()
    answers = await asyncio.gather(*(asker.ask(model, question("hi")) for _ in range(20)))
    assert (len(model.asked), {answer.text for answer in answers}) == (1, {"HI"})


async def test_greedy_repeats_are_asked_once(asker):
    model = SmallModel()
    await asker.ask_all(model, [question("hi", repeat=number) for number in range(5)])
    assert len(model.asked) == 1


async def test_drawn_repeats_are_asked_each(asker):
    model, drawn = SmallModel(), Sampling(temperature=1.0)
    requests = [question("hi", repeat=number, sampling=drawn) for number in range(5)]
    await asker.ask_all(model, requests)
    assert len(model.asked) == 5


async def test_the_first_asker_may_go_without_the_second_waiting_for_ever(asker):
    gate = asyncio.Event()
    model = SmallModel(pause=gate.wait)
    first = asyncio.create_task(asker.ask(model, question("hi")))
    second = asyncio.create_task(asker.ask(model, question("hi")))
    while not model.calls:
        await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).text == "HI"


async def test_an_answer_that_nobody_waits_for_is_journaled(asker, journal):
    gate = asyncio.Event()
    model = SmallModel(pause=gate.wait)
    asking = asyncio.create_task(asker.ask(model, question("hi")))
    while not model.calls:
        await asyncio.sleep(0)
    asking.cancel()
    gate.set()
    await asker.drain()
    journal.flush()
    assert journal.counts().responses == 1


# --- batches and concurrency


async def test_a_batch_takes_what_is_pending(asker):
    model = SmallModel(batch=8, concurrency=1)
    await asker.ask_all(model, [question(f"q{number}") for number in range(20)])
    assert [len(call) for call in model.calls] == [8, 8, 4]


async def test_a_batch_holds_one_kind(asker):
    model = SmallModel(batch=8)
    kinds = ("generate", "loglikelihood", "rolling")
    requests = [Request(kind=kinds[n % 3], prompt=f"q{n}") for n in range(24)]
    await asker.ask_all(model, requests)
    assert all(len({request.kind for request in call}) == 1 for call in model.calls)


@pytest.mark.parametrize(("setting", "most"), [(None, 5), (3, 3)])
async def test_calls_in_flight_are_limited(journal, time, setting, most):
    model = SmallModel(concurrency=5)
    asker = asker_with(journal, time, concurrency=setting)
    await asker.ask_all(model, [question(f"q{number}") for number in range(40)])
    assert model.most_in_flight == most


async def test_one_bad_request_of_a_batch_is_found_and_the_others_answered(asker):
    bad = Failing(*[RequestError("too long")] * 9, only="q13")
    model = SmallModel(bad, batch=32)
    answers = await asker.ask_all(model, [question(f"q{number}") for number in range(32)])
    wrong = [number for number, answer in enumerate(answers) if answer.status == "error"]
    assert wrong == [13]


# --- stopping and money


async def test_what_is_in_flight_when_stopped_is_journaled(asker, journal):
    gate = asyncio.Event()
    model = SmallModel(pause=gate.wait, concurrency=3)
    asking = [asyncio.create_task(asker.ask(model, question(f"q{n}"))) for n in range(10)]
    while len(model.calls) < 3:
        await asyncio.sleep(0)
    asker.stop("enough")
    gate.set()
    await asker.drain()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [Response] * 3 + [StoppedError] * 7
    journal.flush()
    assert journal.counts().responses == 3


async def test_stopping_ends_waits_at_once(journal):
    model = SmallModel(Failing(too_fast(600.0)))
    asker = Asker(journal, EngineSettings())
    asking = asyncio.create_task(asker.ask(model, question("hi")))
    while not model.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    asker.stop("enough")
    with pytest.raises(StoppedError, match="enough"):
        await asyncio.wait_for(asking, 5)


def cent(model: SmallModel, usage: Usage) -> float:
    return usage.output_tokens / 200  # a cent an answer


async def test_costs_add_up(journal, time):
    asker = asker_with(journal, time, price=cent)
    await asker.ask_all(SmallModel(), [question(f"q{n}") for n in range(5)])
    assert asker.tallies["small"].cost == pytest.approx(0.05)


async def test_without_a_price_there_is_no_cost(asker):
    await asker.ask(SmallModel(), question("hi"))
    assert asker.tallies["small"].cost is None


async def test_the_cost_limit_stops_before_it_is_passed(journal, time):
    model = SmallModel(concurrency=4)
    asker = asker_with(journal, time, price=cent, max_cost=0.105)
    requests = [question(f"q{n}", sampling=Sampling(max_tokens=2)) for n in range(30)]
    results = await asyncio.gather(
        *(asker.ask(model, request) for request in requests), return_exceptions=True
    )
    assert sum(isinstance(result, Response) for result in results) == 10
    assert "cost limit of 0.105 USD" in asker.stopped


async def test_the_cost_limit_counts_what_an_earlier_process_paid(tmp_path, time):
    short = Sampling(max_tokens=2)
    for number in range(2):
        model = SmallModel(concurrency=1)
        with Journal(tmp_path / "j") as journal:
            asker = asker_with(journal, time, price=cent, max_cost=0.055)
            requests = [question(f"q{n}", sampling=short) for n in range(3 * (number + 1))]
            await asyncio.gather(
                *(asker.ask(model, request) for request in requests), return_exceptions=True
            )
    assert len(model.asked) == 2


async def test_one_answer_given_to_many_is_paid_once(tmp_path, time):
    for _ in range(2):
        with Journal(tmp_path / "j") as journal:
            asker = asker_with(journal, time, price=cent)
            for number in range(5):
                await asker.ask(SmallModel(), question("hi", repeat=number))
    tally = asker.tallies["small"]
    assert (tally.cost, tally.journal_cost) == (None, pytest.approx(0.01))
    assert asker.spending.total == pytest.approx(0.01)


async def test_a_price_that_fails_is_not_hidden(journal, time):
    def broken(model: SmallModel, usage: Usage) -> float:
        raise ZeroDivisionError("no price")

    asker = asker_with(journal, time, price=broken)
    with pytest.raises(StoppedError):
        await asker.ask(SmallModel(), question("hi"))
    assert isinstance(asker.crash, ZeroDivisionError)


async def test_a_journal_that_cannot_be_written_stops_everything(tmp_path, time):
    journal = Journal(tmp_path / "j")
    journal._writing.execute("PRAGMA max_page_count = 1")
    model = SmallModel(lambda request: Response(text="x" * 100_000))
    asker = asker_with(journal, time)
    with pytest.raises(StoppedError, match="cannot be written any more"):
        for number in range(1000):
            await asyncio.wait_for(asker.ask(model, question(f"q{number}")), 5)
    with pytest.raises(StoppedError):
        journal.close()


async def test_ten_thousand_cheap_requests_leave_nothing_behind(asker):
    model = SmallModel(upper, batch=16)
    for start in range(0, 10_000, 1000):
        await asker.ask_all(model, [question(f"q{start + n}") for n in range(1000)])
    lane = asker._lane(model)
    await asyncio.sleep(0)
    assert (len(asker._in_flight), len(lane._calls), len(lane._unsent)) == (0, 0, 0)
