"""Several answers to one prompt in one request, at every provider that has `n`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faults import Faults
from benchmarks.server_settings import TextAbilities
from evalkit.engine.asking import Asker
from evalkit.engine.journal import Journal
from evalkit.engine.settings import EngineSettings
from evalkit.errors import RequestError
from evalkit.models.draws import Draws
from evalkit.models.wire import split_usage
from evalkit.records import Message, Request, Sampling, Usage
from tests.models.http_fixtures import WEATHER, keys, opened, serve

__all__ = ["keys", "serve"]

KINDS = ("server, chat", "server, text", "openai")


def spec(server, kind: str, **params) -> str:
    query = "".join(f"&{key}={value}" for key, value in params.items())
    maker = "openai" if kind == "openai" else "server"
    own = "" if kind == "openai" else "&loglikelihood=off"
    return f"{maker}/local-model?base_url={server.base_url}{own}{query}"


def draws(kind: str, number: int, temperature: float | None = 1.0, **sampling) -> list[Request]:
    text = "Tell me a number"
    prompt = text if kind == "server, text" else (Message(role="user", content=text),)
    asked = Sampling(max_tokens=8, temperature=temperature, **sampling)
    return [
        Request(kind="generate", prompt=prompt, sampling=asked, repeat=n) for n in range(number)
    ]


async def run(tmp_path, server, model_spec, requests, **more):
    """The answers through the engine, and how many requests the server received."""
    with Journal(tmp_path / "j") as journal:
        async with opened(model_spec) as model:
            before = server.stats.received
            asker = Asker(journal, EngineSettings(), **more)
            answers = await asker.ask_all(model, requests)
            return answers, server.stats.received - before


def numbered(ask) -> str:
    return f"draw {ask.draw}"


@pytest.mark.usefixtures(keys.__name__)
@pytest.mark.parametrize("kind", KINDS)
class TestEverywhere:
    async def test_draws_of_one_prompt_are_one_request(self, serve, tmp_path, kind):
        server = serve(answer=numbered)
        answers, sent = await run(tmp_path, server, spec(server, kind), draws(kind, 5))
        assert sent == 1
        assert sorted(answer.text for answer in answers) == [f"draw {n}" for n in range(5)]

    async def test_a_number_refused_is_asked_in_smaller_ones(self, serve, tmp_path, kind):
        server = serve(answer=numbered, abilities=TextAbilities(most_n=4))
        answers, sent = await run(tmp_path, server, spec(server, kind), draws(kind, 16))
        # 16 refused, then 1; 8 refused, then 1; then 4, 4, 4 and 2
        assert sent == 8
        assert {answer.status for answer in answers} == {"ok"}
        assert {answer.attempts for answer in answers} == {1}

    async def test_where_n_is_ignored_the_rest_is_asked_singly(self, serve, tmp_path, kind):
        server = serve(answer=numbered, abilities=TextAbilities(ignores_n=True))
        answers, sent = await run(tmp_path, server, spec(server, kind), draws(kind, 6))
        assert sent == 6
        assert [answer.text for answer in answers] == ["draw 0"] * 6

    async def test_with_a_seed_each_is_asked_with_that_seed(self, serve, tmp_path, kind):
        server = serve(log_bodies=True)
        asked = draws(kind, 3, seed=7)
        _, sent = await run(tmp_path, server, spec(server, kind), asked)
        assert sent == 3
        assert {body["seed"] for body in server.stats.log} == {7}
        assert not any("n" in body for body in server.stats.log)

    async def test_a_number_of_the_users_own_is_left_alone(self, serve, tmp_path, kind):
        server = serve(log_bodies=True)
        asked = spec(server, kind, extra_body='{"n":2}')
        _, sent = await run(tmp_path, server, asked, draws(kind, 3))
        assert sent == 3
        assert {body["n"] for body in server.stats.log} == {2}

    async def test_greedy_answers_are_not_drawn(self, serve, tmp_path, kind):
        server = serve(log_bodies=True)
        await run(tmp_path, server, spec(server, kind, temperature=0), draws(kind, 3))
        assert not any("n" in body for body in server.stats.log)

    async def test_other_sampling_is_another_request(self, serve, tmp_path, kind):
        server = serve()
        requests = [*draws(kind, 3), *draws(kind, 3, temperature=0.5)]
        _, sent = await run(tmp_path, server, spec(server, kind), requests)
        assert sent == 2

    async def test_the_input_is_counted_once_and_the_output_as_told(self, serve, tmp_path, kind):
        server = serve(answer=lambda ask: "word " * (1 + 2 * ask.draw))
        answers, _ = await run(tmp_path, server, spec(server, kind), draws(kind, 4))
        used = [answer.usage for answer in answers]
        assert [one.input_tokens > 0 for one in used] == [True, False, False, False]
        assert used[3].output_tokens > used[0].output_tokens > 0

    async def test_a_passing_failure_asks_all_again_in_one_request(self, serve, tmp_path, kind):
        server = serve(answer=numbered, faults=Faults(server_error=1.0))
        model_spec = spec(server, kind)
        answers, sent = await run(
            tmp_path, server, model_spec, draws(kind, 5), sleep=lambda s: asyncio.sleep(0)
        )
        assert sent == 2
        assert {answer.attempts for answer in answers} == {2}

    async def test_a_next_process_draws_only_what_is_missing(self, serve, tmp_path, kind):
        server = serve(answer=numbered, log_bodies=True)
        first, _ = await run(tmp_path, server, spec(server, kind), draws(kind, 2))
        answers, sent = await run(tmp_path, server, spec(server, kind), draws(kind, 5))
        assert (sent, server.stats.log[-1]["n"]) == (1, 3)
        assert answers[:2] == first


async def test_a_prompt_that_does_not_fit_is_refused_twice_and_no_more(serve, tmp_path):
    server = serve(abilities=TextAbilities(max_model_len=5))
    requests = draws("server, text", 8)
    answers, sent = await run(tmp_path, server, spec(server, "server, text"), requests)
    assert sent == 2
    assert {answer.error.partition(":")[0] for answer in answers} == {"bad_request"}


async def test_tools_are_drawn_with(serve, tmp_path):
    server = serve(answer=numbered)
    requests = [
        Request(
            kind="generate",
            prompt=(Message(role="user", content="x"),),
            tools=(WEATHER,),
            sampling=Sampling(temperature=1.0),
            repeat=n,
        )
        for n in range(3)
    ]
    _, sent = await run(tmp_path, server, spec(server, "server, chat"), requests)
    assert sent == 1


async def test_a_choice_that_broke_off_is_asked_again_alone(serve, tmp_path):
    from benchmarks.answers import Answer

    broken = iter(["abort"])
    server = serve(
        answer=lambda ask: Answer(
            text=f"draw {ask.draw}", finish_reason=next(broken, None) if ask.draw == 1 else None
        ),
        log_bodies=True,
    )
    answers, sent = await run(
        tmp_path,
        server,
        spec(server, "server, chat"),
        draws("server, chat", 3),
        sleep=lambda s: asyncio.sleep(0),
    )
    assert (sent, "n" in server.stats.log[-1]) == (2, False)
    assert [answer.attempts for answer in answers] == [1, 2, 1]


async def test_more_choices_than_asked_for_are_paid_with_the_first():
    from evalkit.records import Response

    async def generous(request, number):
        return [Response(text=str(n), usage=Usage(output_tokens=2)) for n in range(3)]

    [answer] = await Draws({}).ask(draws("openai", 1), generous)
    assert (answer.text, answer.usage.output_tokens) == ("0", 6)


async def test_a_refusal_of_one_draw_is_raised():
    async def refusing(request, number):
        raise RequestError("no")

    with pytest.raises(RequestError):
        await Draws({}).ask(draws("openai", 1), refusing)


@given(
    st.integers(0, 10_000),
    st.integers(0, 500),
    st.integers(0, 500),
    st.lists(st.integers(0, 5000), min_size=1, max_size=20),
)
def test_the_parts_of_a_usage_add_up_to_it(read, written, thought, lengths):
    whole = Usage(input_tokens=read, output_tokens=written, reasoning_tokens=thought)
    parts = split_usage(whole, lengths)
    assert sum(parts, Usage()) == whole
    assert all(part.output_tokens >= 0 and part.reasoning_tokens >= 0 for part in parts)
