"""Who waits for whom before llama.cpp is asked."""

from __future__ import annotations

import asyncio

import pytest

from evalkit.models.llamacpp_prefixes import Prefixes, shared_length
from evalkit.records import Message, Request

HEADER = "Question: how many hens? Answer: 12.\n\n" * 20


def text(own, header=HEADER):
    return Request(kind="generate", prompt=header + own)


def chat(own, header=HEADER):
    turns = (Message(role="system", content=header), Message(role="user", content=own))
    return Request(kind="generate", prompt=turns)


class Answers:
    """Takes turns and records who is being answered; `end` lets one of them end."""

    def __init__(self):
        self.prefixes, self.running, self.turns = Prefixes(), [], {}
        self.ends: dict[str, asyncio.Future] = {}

    async def begin(self, name, request):
        self.ends[name] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._answer(name, request))
        await settle()
        return task

    async def end(self, name, error=None):
        if error is None:
            self.ends[name].set_result(None)
        else:
            self.ends[name].set_exception(error)
        await settle()

    async def _answer(self, name, request):
        async with self.prefixes.turn(request) as turn:
            self.turns[name] = turn
            self.running.append(name)
            try:
                await self.ends[name]
            finally:
                self.running.remove(name)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [text, chat])
async def test_the_first_of_a_header_goes_alone_and_the_others_together(kind):
    answers = Answers()
    for name in "abc":
        await answers.begin(name, kind(name))
    assert answers.running == ["a"]
    await answers.end("a")
    assert answers.running == ["b", "c"]


async def test_different_headers_do_not_wait_for_each_other():
    answers = Answers()
    await answers.begin("a", text("a"))
    await answers.begin("b", text("b", header=HEADER[::-1]))
    assert answers.running == ["a", "b"]


async def test_a_short_common_beginning_is_not_worth_waiting_for():
    answers = Answers()
    for name in "ab":
        await answers.begin(name, text(name, header="You are a helpful assistant. "))
    assert answers.running == ["a", "b"]


async def test_a_header_that_was_answered_before_is_there_for_everybody():
    answers = Answers()
    await answers.begin("a", text("a"))
    await answers.end("a")
    for name in "bc":
        await answers.begin(name, text(name))
    assert answers.running == ["b", "c"]


async def test_another_sample_of_the_same_prompt_waits_for_the_first():
    answers = Answers()
    for name in "ab":
        await answers.begin(name, text("the same"))
    assert answers.running == ["a"] and answers.turns["a"].awaited


async def test_nobody_waits_for_what_shares_nothing():
    answers = Answers()
    await answers.begin("a", text("a"))
    assert not answers.turns["a"].awaited


async def test_where_the_first_fails_the_next_goes_alone():
    answers = Answers()
    first = await answers.begin("a", text("a"))
    for name in "bc":
        await answers.begin(name, text(name))
    await answers.end("a", ValueError("no answer"))
    assert answers.running == ["b"]
    with pytest.raises(ValueError, match="no answer"):
        await first


async def test_who_gives_up_waiting_leaves_nothing_behind():
    answers = Answers()
    await answers.begin("a", text("a"))
    waiting = await answers.begin("b", text("b"))
    waiting.cancel()
    await answers.end("a")
    assert answers.running == []


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [
        (b"", b"", 0),
        (b"abc", b"abc", 3),
        (b"abc", b"abcd", 3),
        (b"abx", b"aby", 2),
        (b"a", b"b", 0),
    ],
)
def test_the_shared_length_is_counted_in_bytes(first, second, length):
    assert shared_length(first, second) == length
