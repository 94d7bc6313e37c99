"""Requests that one call can answer reach the adapter together, and count as one."""

import asyncio

import pytest
from engine_world import Failing, SmallModel, upper

from evalkit.engine.asking import Asker
from evalkit.engine.journal import Journal
from evalkit.engine.pending import MOST_TOGETHER
from evalkit.engine.settings import EngineSettings
from evalkit.errors import LeftOutError, RequestError, StoppedError, TransientError
from evalkit.models.protocol import Grouping
from evalkit.records import Request, Response, Usage


class GroupingModel(SmallModel):
    """Takes the choices of one prompt in one call; each is answered, or fails, by itself."""

    def together(self, request: Request):
        return None if request.prompt == "alone" else request.prompt

    async def ask(self, requests):
        self.calls.append(list(requests))
        await self.pause()
        return [self.one(request) for request in requests]

    def one(self, request: Request):
        return self.answer(request)


class PartlyFailing(GroupingModel):
    """Gives the error of one request where its response would stand."""

    def one(self, request: Request):
        try:
            return self.answer(request)
        except (RequestError, TransientError, LeftOutError) as error:
            return error


def choices(prompt: str, number: int = 4) -> list[Request]:
    return [
        Request(kind="loglikelihood", prompt=prompt, continuation=f" {n}") for n in range(number)
    ]


def sizes(model: SmallModel) -> list[int]:
    return [len(call) for call in model.calls]


def asker_with(journal, time, price=None, **fields) -> Asker:
    settings = EngineSettings(**fields)
    return Asker(journal, settings, price=price, clock=time.clock, sleep=time.sleep)


@pytest.fixture
def asker(journal, time):
    return asker_with(journal, time)


def test_an_ordinary_adapter_groups_nothing():
    assert not isinstance(SmallModel(), Grouping)


async def test_requests_of_one_key_make_one_call(asker):
    model = GroupingModel()
    answers = await asker.ask_all(model, [*choices("a"), *choices("b")])
    assert [[request.prompt for request in call] for call in model.calls] == [["a"] * 4, ["b"] * 4]
    assert [answer.text for answer in answers] == ["A"] * 4 + ["B"] * 4


async def test_requests_that_arrive_apart_but_wait_together_make_one_call(asker):
    model = GroupingModel(concurrency=1)
    mixed = [request for pair in zip(choices("a"), choices("b"), strict=True) for request in pair]
    await asyncio.gather(*(asker.ask(model, request) for request in mixed))
    assert sizes(model) == [4, 4]


async def test_a_request_without_a_key_is_asked_alone(asker):
    model = GroupingModel()
    await asker.ask_all(model, choices("alone"))
    assert sizes(model) == [1, 1, 1, 1]


async def test_a_group_is_bounded(asker):
    model = GroupingModel()
    await asker.ask_all(model, choices("a", MOST_TOGETHER + 3))
    assert sizes(model) == [MOST_TOGETHER, 3]


async def test_a_group_holds_one_place_in_flight(journal, time):
    gate = asyncio.Event()
    model = GroupingModel(concurrency=2, pause=gate.wait)
    asker = asker_with(journal, time)
    asking = asyncio.create_task(
        asker.ask_all(model, [request for prompt in "abc" for request in choices(prompt)])
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert (sizes(model), asker.tallies["small"].in_flight) == ([4, 4], 8)
    gate.set()
    await asking


async def test_requests_and_calls_are_counted_apart(asker):
    model = GroupingModel()
    await asker.ask_all(model, [*choices("a"), *choices("b")])
    outcome = asker.tallies["small"].outcome()
    assert (outcome.sent, outcome.calls, outcome.answered) == (8, 2, 8)


async def test_a_group_that_fails_in_passing_is_asked_again_together(asker):
    model = GroupingModel(Failing(TransientError("reset"), TransientError("reset")))
    answers = await asker.ask_all(model, choices("a"))
    assert sizes(model) == [4, 4, 4]
    assert {answer.attempts for answer in answers} == {3}


async def test_a_group_refused_for_asking_too_fast_is_asked_again_together(asker):
    refusal = TransientError("slow down", status_code=429, rate_limited=True, retry_after_s=2.0)
    model = GroupingModel(Failing(refusal))
    await asker.ask_all(model, choices("a"))
    assert sizes(model) == [4, 4]


async def test_a_bad_request_of_a_group_is_found_and_the_others_answered(asker):
    def answer(request: Request) -> Response:
        if request.continuation == " 2":
            raise RequestError("too long")
        return upper(request)

    model = GroupingModel(answer)
    answers = await asker.ask_all(model, choices("a"))
    assert [answer.status for answer in answers] == ["ok", "ok", "error", "ok"]


async def test_an_error_of_one_request_costs_the_others_nothing(asker):
    def answer(request: Request) -> Response:
        if request.continuation == " 2":
            raise RequestError("too long")
        return upper(request)

    model = PartlyFailing(answer)
    answers = await asker.ask_all(model, choices("a"))
    assert sizes(model) == [4]
    assert [answer.error for answer in answers] == ["", "", "bad_request: too long", ""]


async def test_what_fails_in_passing_alone_is_asked_again_alone(asker):
    turns = iter([TransientError("reset")])

    def answer(request: Request) -> Response:
        if request.continuation == " 2" and (error := next(turns, None)):
            raise error
        return upper(request)

    model = PartlyFailing(answer)
    answers = await asker.ask_all(model, choices("a"))
    assert sizes(model) == [4, 1]
    assert [answer.attempts for answer in answers] == [1, 1, 2, 1]


class TestLeftOut:
    """A call may answer some and hand back the rest, unasked."""

    async def test_what_was_left_out_is_asked_again_and_is_no_failure(self, asker):
        class First(PartlyFailing):
            async def ask(self, requests):
                self.calls.append(list(requests))
                return [upper(requests[0]), *(LeftOutError("later") for _ in requests[1:])]

        model = First()
        answers = await asker.ask_all(model, choices("a"))
        assert sizes(model) == [4, 3, 2, 1]
        assert [answer.attempts for answer in answers] == [1, 1, 1, 1]
        tally = asker.tallies["small"]
        assert (tally.sent, tally.calls, dict(tally.failures)) == (4, 4, {})

    async def test_an_adapter_that_leaves_out_all_is_at_fault(self, asker):
        def answer(request: Request) -> Response:
            raise LeftOutError("never")

        answers = await asker.ask_all(PartlyFailing(answer), choices("a", 1))
        assert "asked none of the requests" in answers[0].error

    async def test_what_was_left_out_ends_when_the_run_stops(self, journal, time):
        asker = asker_with(journal, time)

        class Stopping(PartlyFailing):
            async def ask(self, requests):
                asker.stop("enough")
                return [upper(requests[0]), *(LeftOutError("later") for _ in requests[1:])]

        with pytest.raises(StoppedError, match="enough"):
            await asker.ask_all(Stopping(), choices("a"))


class TestLimits:
    async def test_a_group_is_one_request_a_minute(self, journal, time):
        asker = asker_with(journal, time, requests_per_minute=60)
        await asker.ask_all(GroupingModel(), [r for p in "abc" for r in choices(p)])
        assert time.now == pytest.approx(2)

    async def test_a_group_is_the_tokens_of_one_prompt(self, journal, time):
        asker = asker_with(journal, time, tokens_per_minute=6000)
        model = GroupingModel(lambda request: Response(text="x", usage=Usage(input_tokens=27)))
        model.count_tokens = len
        await asker.ask_all(model, choices("p" * 100) + choices("q" * 100))
        # 100 of the prompt, 2 of each continuation: 8 more than what may leave at once
        assert time.now == pytest.approx(1.08)

    async def test_a_group_sets_aside_the_cost_of_one_prompt(self, journal, time):
        asker = asker_with(
            journal, time, max_cost=1.1, price=lambda model, usage: usage.input_tokens / 100
        )
        model = GroupingModel(lambda request: Response(text="x", usage=Usage(input_tokens=1)))
        model.count_tokens = len
        answers = await asker.ask_all(model, choices("p" * 100))
        assert len(answers) == 4

    async def test_a_group_has_the_deadline_of_one_request(self, journal):
        model = GroupingModel(pause=asyncio.Event().wait)
        asker = Asker(journal, EngineSettings(deadline_s=0.02, max_attempts=1))
        answers = await asyncio.wait_for(asker.ask_all(model, choices("a")), 5)
        assert {answer.error for answer in answers} == {
            "timeout: no answer within the deadline of 0.02 s"
        }


async def test_only_what_is_missing_of_a_group_is_asked_by_the_next_process(tmp_path, time):
    with Journal(tmp_path / "j") as journal:
        await asker_with(journal, time).ask_all(GroupingModel(), choices("a")[:2])
    model = GroupingModel()
    with Journal(tmp_path / "j") as journal:
        answers = await asker_with(journal, time).ask_all(model, choices("a"))
    assert [request.continuation for request in model.asked] == [" 2", " 3"]
    assert [answer.text for answer in answers] == ["A"] * 4
