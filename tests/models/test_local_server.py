"""The local server that other tests rely on: it must count, fail and stream as it says."""

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.answers import Answer
from benchmarks.faults import Faults
from benchmarks.text_protocol import TextAbilities
from benchmarks.toy_language import TOY_LANGUAGE, ToyTokenizer
from evalkit.errors import TransientError
from tests.models.http_fixtures import KEY, ask, chat, opened, serve

__all__ = ["serve"]


def spec(server) -> str:
    return f"server/local-model?base_url={server.base_url}&loglikelihood=off"


@given(st.text())
def test_the_toy_tokenizer_loses_nothing(text):
    text = text.encode("utf-8", "replace").decode()
    assert ToyTokenizer().decode(ToyTokenizer().encode(text)) == text


def test_faults_hit_their_share_of_bodies_and_the_same_ones_every_time():
    faults = Faults(rate_limited=0.1, server_error=0.05, seed=3)
    bodies = [str(n).encode() for n in range(4000)]
    first = [faults.pick(body, 0) for body in bodies]
    assert first == [faults.pick(body, 0) for body in bodies]
    assert 0.08 < first.count("rate_limited") / 4000 < 0.12
    assert 0.035 < first.count("server_error") / 4000 < 0.065


def test_a_body_recovers_after_max_per_body_attempts():
    faults = Faults(server_error=1.0, max_per_body=2)
    assert [faults.pick(b"x", n) for n in range(3)] == ["server_error", "server_error", ""]


async def test_it_counts_what_it_received_answered_and_failed(serve):
    server = serve(faults=Faults(server_error=0.5, seed=1))
    failed = 0
    async with opened(spec(server)) as model:
        for n in range(20):
            try:
                await ask(model, chat(("user", str(n))))
            except TransientError:
                failed += 1
    stats = server.stats
    assert 0 < failed < 20
    assert (stats.received, stats.answered) == (20, 20 - failed)
    assert stats.faults == {"server_error": failed}
    assert stats.summary(with_bodies=True)["unique_bodies"] == 20


async def test_it_works_on_no_more_than_its_capacity_at_once(serve):
    server = serve(latency_s=0.02, capacity=2)
    async with opened(spec(server)) as model:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(ask(model, chat(("user", str(n)))) for n in range(6)))
        took = loop.time() - started
    assert took > 0.05
    assert server.stats.max_in_flight > 2


async def test_without_counting_no_body_is_kept(serve):
    server = serve(count_bodies=False)
    async with opened(spec(server)) as model:
        await ask(model, chat(("user", "x")))
    assert not server.stats.bodies
    assert not server.stats.log


async def test_openais_sdk_reads_its_stream(serve):
    import openai

    server = serve(answer=lambda a: Answer(text="one two three four"))
    async with openai.AsyncOpenAI(api_key=KEY, base_url=server.base_url) as client:
        stream = await client.chat.completions.create(
            model="local-model",
            messages=[{"role": "user", "content": "x"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == "one two three four"
    assert chunks[-1].usage.completion_tokens == 5


async def test_openais_sdk_reads_several_choices_and_logprobs(serve):
    import openai

    async with openai.AsyncOpenAI(api_key=KEY, base_url=serve().base_url) as client:
        completion = await client.chat.completions.create(
            model="local-model",
            messages=[{"role": "user", "content": "x"}],
            n=3,
            logprobs=True,
            top_logprobs=2,
        )
    assert len(completion.choices) == 3
    content = completion.choices[0].logprobs.content
    assert "".join(token.token for token in content) == completion.choices[0].message.content
    assert all(token.top_logprobs for token in content)


@pytest.mark.slow
def test_as_a_program_it_prints_where_it_is():
    command = [sys.executable, "-m", "benchmarks.local_server", "--answer", "echo:4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            place = json.loads(process.stdout.readline())
            with urllib.request.urlopen(f"{place['origin']}/_stats") as answer:
                assert json.load(answer)["received"] == 0
        finally:
            process.kill()


def complete(server, **body) -> dict:
    """The answer to a text completion, or the error."""
    asked = urllib.request.Request(
        f"{server.base_url}/completions",
        data=json.dumps({"model": "local-model", "max_tokens": 1, **body}).encode(),
    )
    try:
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


class TestNextTokens:
    def test_the_likeliest_are_listed_best_first_in_the_language_models_words(self, serve):
        tokens = ToyTokenizer().encode("Answer:")
        [choice] = complete(serve(), prompt=tokens, logprobs=5)["choices"]
        [top] = choice["logprobs"]["top_logprobs"]
        listed = TOY_LANGUAGE.top(tokens, 5)
        assert [top[ToyTokenizer().decode([token])] for _, token in listed] == [
            logprob for logprob, _ in listed
        ]
        assert listed[0][1] == TOY_LANGUAGE.favourite(tokens)

    def test_the_likeliest_token_is_more_likely_than_any_other(self):
        for n in range(200):
            listed = TOY_LANGUAGE.top([n, n + 1], 200)
            assert listed[0][0] > -0.67 > -1.39 > listed[1][0]

    def test_they_are_named_by_their_ids_on_demand(self, serve):
        tokens = ToyTokenizer().encode("Answer:")
        asked = {"prompt": tokens, "logprobs": 3, "return_tokens_as_token_ids": True}
        [choice] = complete(serve(), **asked)["choices"]
        names = {f"token_id:{token}" for _, token in TOY_LANGUAGE.top(tokens, 3)}
        assert names <= set(choice["logprobs"]["top_logprobs"][0])

    def test_more_than_its_cap_is_refused(self, serve):
        server = serve(abilities=TextAbilities(max_logprobs=5))
        said = complete(server, prompt="x", logprobs=6)["error"]["message"]
        assert said == "Requested sample logprobs of 6, which is greater than max allowed: 5"

    def test_in_llama_cpps_form_they_carry_ids(self, serve):
        tokens = ToyTokenizer().encode("Answer:")
        server = serve(abilities=TextAbilities(entries=True))
        [choice] = complete(server, prompt=tokens, logprobs=3)["choices"]
        [entry] = choice["logprobs"]["content"]
        assert [one["id"] for one in entry["top_logprobs"]] == [
            token for _, token in TOY_LANGUAGE.top(tokens, 3)
        ]


class TestSeveralChoices:
    @pytest.mark.parametrize("field", ["prompt", "messages"])
    async def test_each_draw_is_answered_by_itself(self, serve, field):
        server = serve(answer=lambda a: f"draw {a.draw}")
        async with opened(spec(server)) as model:
            answered = await model._client.post(
                f"{server.base_url}/{'chat/' if field == 'messages' else ''}completions",
                {
                    "model": "local-model",
                    field: [{"role": "user", "content": "x"}] if field == "messages" else "x",
                    "n": 3,
                },
            )
        choices = json.loads(answered)["choices"]
        said = [c["message"]["content"] if "message" in c else c["text"] for c in choices]
        assert said == ["draw 0", "draw 1", "draw 2"]

    def test_greedy_draws_are_refused_as_vllm_does(self, serve):
        said = complete(serve(), prompt="x", n=2, temperature=0)["error"]["message"]
        assert said.startswith("n must be 1 when using greedy sampling")


class TestPrefixCache:
    def test_a_prefix_seen_before_counts_in_whole_blocks(self, serve):
        server = serve(prefix_cache=True)
        cached = [
            complete(server, prompt=prompt)["usage"]["prompt_tokens_details"]["cached_tokens"]
            for prompt in ([7] * 40, [7] * 40 + [8] * 40, [7] * 40 + [8] * 20, [8] * 40)
        ]
        assert cached == [0, 32, 48, 0]

    def test_the_last_token_is_computed_always(self, serve):
        server = serve(prefix_cache=True)
        usage = [complete(server, prompt=[7] * 32)["usage"] for _ in range(2)]
        assert usage[1]["prompt_tokens_details"]["cached_tokens"] == 31
