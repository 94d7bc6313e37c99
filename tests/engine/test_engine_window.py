"""How many samples are alive at once."""

import asyncio

import pytest
from engine_world import SmallModel, SmallTask

from evalkit.engine.jobs import CHUNK_CHARACTERS, build_chunk
from evalkit.engine.window import AHEAD, AHEAD_CHARACTERS, Window, prompt_characters
from evalkit.records import Message, Request


async def entered(window, characters, most=10_000):
    """The places of as many samples as find room at once."""
    places = []
    while len(places) < most:
        waiting = asyncio.ensure_future(window.enter(characters))
        await asyncio.sleep(0)
        if not waiting.done():
            waiting.cancel()
            return places
        places.append(waiting.result())
    return places


@pytest.mark.parametrize("busy", [1, 10, 64])
async def test_short_samples_are_built_ahead(busy):
    assert len(await entered(Window(lambda: busy), 100)) == 2 * busy + AHEAD


@pytest.mark.parametrize("busy", [1, 10])
async def test_long_samples_are_built_for_what_the_model_takes_at_once_alone(busy):
    assert len(await entered(Window(lambda: busy), AHEAD_CHARACTERS)) == busy


async def test_a_place_that_is_left_is_taken_by_who_waits():
    window = Window(lambda: 1)
    places = await entered(window, AHEAD_CHARACTERS)
    waiting = asyncio.ensure_future(window.enter(AHEAD_CHARACTERS))
    places[0].leave()
    await asyncio.wait_for(waiting, 5)


async def test_a_place_is_given_up_once():
    window = Window(lambda: 1)
    places = await entered(window, AHEAD_CHARACTERS)
    places[0].leave()
    places[0].leave()
    assert len(await entered(window, AHEAD_CHARACTERS)) == 1


async def test_the_window_follows_what_keeps_the_model_busy():
    busy = [1]
    window = Window(lambda: busy[0])
    before = len(await entered(window, 1))
    busy[0] = 100
    assert before + len(await entered(window, 1)) == 200 + AHEAD


def test_a_prompt_that_requests_share_counts_once():
    prompt = (Message(role="user", content="x" * 50), Message(role="user", content="y" * 7))
    ask = [Request(kind="loglikelihood", prompt=prompt, continuation=c) for c in "ABCD"]
    assert prompt_characters(ask) == 57


def test_a_chunk_of_long_prompts_is_short():
    class Long(SmallTask):
        def requests(self, sample, answers):
            return [Request(kind="generate", prompt="x" * (CHUNK_CHARACTERS // 2))]

    task = Long(100)
    assert len(build_chunk(task, iter(task.samples(None)), 32, 1e9)) == 2


async def test_ten_long_prompts_in_flight_are_joined_by_few_that_wait(journal, collected):
    alive = [0]

    class Long(SmallTask):
        def requests(self, sample, answers):
            if answers:
                return []
            alive[0] += 1
            return [Request(kind="generate", prompt=f"{sample.index}" + "x" * 500_000)]

    finished, worst = [], [0]

    async def pause():
        for _ in range(5):
            await asyncio.sleep(0)
        worst[0] = max(worst[0], alive[0] - len(collected.finished))
        finished.append(1)

    from evalkit.engine.jobs import Job

    model = SmallModel(concurrency=10, pause=pause)
    await collected.run(journal, Job(model=model, load=lambda: Long(60), name="long"))
    assert (len(collected.finished), worst[0] <= 10 + 8 + 3) == (60, True)
