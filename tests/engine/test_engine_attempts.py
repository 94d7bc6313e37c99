"""How long an attempt may take."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.engine.attempts import ENOUGH_ANSWERS, Attempts
from evalkit.errors import TransientError
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Request


class OwnServer(ScriptedModel):
    suspect_after_s = 60.0


async def used(model, answers=ENOUGH_ANSWERS, deadline_s=600.0):
    attempts = Attempts(model, deadline_s)
    for _ in range(answers):
        await attempts.ask([Request(kind="generate", prompt="q")])
    return attempts


async def test_a_paid_model_always_has_the_whole_deadline():
    assert (await used(ScriptedModel(lambda request: "a"))).seconds_for(1) == 600


async def test_nothing_is_suspected_before_enough_answers_are_known():
    attempts = await used(OwnServer(lambda request: "a"), answers=ENOUGH_ANSWERS - 1)
    assert attempts.seconds_for(1) == 600


async def test_a_quick_servers_attempt_is_given_up_early_and_each_next_one_later():
    attempts = await used(OwnServer(lambda request: "a"))
    assert [attempts.seconds_for(n) for n in (1, 2, 3, 4, 5)] == [60, 120, 240, 480, 600]


async def test_a_slow_servers_attempt_may_take_ten_times_its_slowest_answer():
    attempts = await used(OwnServer(lambda request: "a"))
    attempts._slowest_s = 20.0
    assert attempts.seconds_for(1) == 200


async def test_no_deadline_stays_no_deadline():
    attempts = await used(OwnServer(lambda request: "a"), deadline_s=None)
    assert attempts.seconds_for(3) is None


@given(st.integers(1, 1000), st.floats(0.1, 1e5))
def test_no_attempt_takes_longer_than_the_deadline(attempt, deadline_s):
    attempts = Attempts(OwnServer(lambda request: "a"), deadline_s)
    attempts._answered = ENOUGH_ANSWERS
    assert 0 < attempts.seconds_for(attempt) <= deadline_s


@pytest.mark.parametrize("answers", [0, 5])
async def test_answers_are_counted_as_they_come(answers):
    attempts = await used(OwnServer(lambda request: "a"), answers=answers)
    assert attempts._answered == answers


class LosesTheFirst(ScriptedModel):
    suspect_after_s = 0.05

    async def ask(self, requests):
        if requests[0].prompt == "lost":
            await asyncio.Event().wait()
        return await super().ask(requests)


async def test_a_request_lost_before_any_answer_was_known_is_given_up_once_enough_are():
    attempts = Attempts(LosesTheFirst(lambda request: "a"), 600.0)
    lost = asyncio.create_task(attempts.ask([Request(kind="generate", prompt="lost")]))
    for number in range(ENOUGH_ANSWERS):
        await attempts.ask([Request(kind="generate", prompt=f"q{number}")])
    with pytest.raises(TransientError, match="no answer within"):
        await asyncio.wait_for(lost, timeout=30)
