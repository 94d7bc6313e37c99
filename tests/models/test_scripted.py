"""The model that follows a script."""

from __future__ import annotations

import asyncio

import pytest

from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import InputError, TransientError, UnknownNameError
from evalkit.models.protocol import Capabilities, Model
from evalkit.models.scripted import ScriptedModel, create
from evalkit.records import Message, Request, Response


def generate(text, **fields):
    return Request(kind="generate", prompt=text, **fields)


def likelihood(prompt, continuation):
    return Request(kind="loglikelihood", prompt=prompt, continuation=continuation)


async def text_of(spec, prompt="Which?"):
    (response,) = await create(parse_model_spec(spec)).ask([generate(prompt)])
    return response.text


def test_it_is_a_model():
    assert isinstance(ScriptedModel(), Model)


async def test_a_function_answers():
    model = ScriptedModel(lambda request: f"<{request.prompt}>")
    assert [r.text for r in await model.ask([generate("a"), generate("b")])] == ["<a>", "<b>"]


async def test_what_is_queued_comes_first_and_in_order():
    model = ScriptedModel(lambda _: "later").enqueue("one", Response(text="two"))
    responses = await model.ask([generate("x")] * 3)
    assert [r.text for r in responses] == ["one", "two", "later"]


async def test_an_exception_in_the_queue_is_raised():
    model = ScriptedModel().enqueue(TransientError("busy"))
    with pytest.raises(TransientError, match="busy"):
        await model.ask([generate("x")])


async def test_it_remembers_what_it_was_asked():
    model = ScriptedModel()
    await model.ask([generate("a"), generate("b")])
    await model.ask([generate("c")])
    assert [request.prompt for request in model.requests] == ["a", "b", "c"]
    assert [len(call) for call in model.calls] == [2, 1]


async def test_latency_is_slept_by_the_given_clock():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    await ScriptedModel(latency_s=1.5, sleep=sleep).ask([generate("x")])
    assert slept == [1.5]


async def test_it_counts_calls_in_flight():
    model = ScriptedModel()
    await asyncio.gather(*(model.ask([generate("x")]) for _ in range(3)))
    assert model.most_in_flight == 3


async def test_likelihoods_do_not_depend_on_order_or_instance():
    requests = [likelihood("p", " a"), likelihood("p", " b"), likelihood("q", " a")]
    forward = await ScriptedModel().ask(requests)
    backward = await ScriptedModel().ask(requests[::-1])
    assert list(forward) == list(backward)[::-1]
    assert len({response.logprob for response in forward}) == 3


async def test_likelihoods_depend_on_the_seed():
    (one,) = await ScriptedModel(seed=1).ask([likelihood("p", " a")])
    (two,) = await ScriptedModel(seed=2).ask([likelihood("p", " a")])
    assert one.logprob != two.logprob


async def test_scores_can_be_scripted():
    model = ScriptedModel(
        scores=lambda request: Response(logprob=-float(len(request.continuation)))
    )
    (response,) = await model.ask([likelihood("p", " ab")])
    assert response.logprob == -3


async def test_rolling_text_has_a_likelihood_but_no_greedy_flag():
    (response,) = await ScriptedModel().ask([Request(kind="rolling", prompt="text")])
    assert response.logprob is not None and response.greedy is None


async def test_echo_repeats_the_last_message():
    messages = (Message(role="system", content="s"), Message(role="user", content="hello you"))
    assert await text_of("scripted/echo", messages) == "hello you"


async def test_fixed_says_its_text():
    assert await text_of("scripted/fixed?text=The+answer") == "The answer"


async def test_first_choice_says_a():
    assert await text_of("scripted/first-choice") == "A"


async def test_random_letters_follow_the_seed():
    letters = [await text_of("scripted/random?seed=1", f"question {i}") for i in range(40)]
    assert letters == [await text_of("scripted/random?seed=1", f"question {i}") for i in range(40)]
    assert letters != [await text_of("scripted/random?seed=2", f"question {i}") for i in range(40)]
    assert set(letters) == set("ABCD")


async def test_capabilities_can_be_set():
    model = create(parse_model_spec("scripted/echo?loglikelihood=false&context_length=100"))
    assert model.capabilities == Capabilities(
        text=True, tools=True, loglikelihood=False, context_length=100
    )


async def test_usage_counts_words():
    (response,) = await ScriptedModel(lambda _: "one two").ask([generate("a b c")])
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)


def test_what_it_says_is_part_of_its_identity():
    one, two = (create(parse_model_spec(f"scripted/fixed?text={text}")) for text in "AB")
    assert one.identity != two.identity


def test_an_unknown_script_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="'echo'"):
        create(parse_model_spec("scripted/eco"))


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(InputError, match="batch"):
        create(parse_model_spec("scripted/echo?batch=0"))
