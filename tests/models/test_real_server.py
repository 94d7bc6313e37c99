"""A real model behind a real server: llama.cpp's own, through xllamacpp, speaks both protocols."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from evalkit.errors import DataError, RequestError
from evalkit.models.embedded import embedded_model_path, embedded_transformers_folder
from evalkit.records import Request, Response
from tests.models.http_fixtures import ask, chat, keys, opened, text

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.usefixtures(keys.__name__)]

SERVER = """
import json, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {"smollm2"}
params.port, params.n_parallel, params.n_ctx, params.warmup = 0, 2, 2048, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
print(json.dumps(server.listening_address), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The address of the server, which runs as its own process."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install 'evalkit[local]'")
    try:
        path = embedded_model_path()
    except DataError as error:
        pytest.skip(f"the embedded model cannot be had: {error}")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()


@pytest.fixture(params=["server", "openai", "anthropic"])
def spec(request, origin) -> str:
    """The same model by each of the three adapters."""
    if request.param == "anthropic":
        return f"anthropic/smollm2?base_url={origin}&max_tokens=16"
    return f"{request.param}/smollm2?base_url={origin}/v1&max_tokens=16"


CAPITAL = chat(("system", "Answer in one word."), ("user", "What is the capital of France?"))


async def test_it_answers_a_question_greedily_and_tells_its_usage(spec):
    async with opened(spec) as model:
        first, second = await model.ask([CAPITAL, CAPITAL])
    assert "Paris" in first.text
    assert first.text == second.text
    assert first.usage.input_tokens > 10
    assert first.usage.output_tokens > 0
    assert first.served_model == "smollm2"


async def test_an_answer_at_the_limit_is_truncated(spec):
    async with opened(spec.replace("max_tokens=16", "max_tokens=3")) as model:
        response = await ask(model, chat(("user", "Tell me a long story.")))
    assert response.status == "truncated"


async def test_it_stops_at_a_stop_sequence(spec):
    async with opened(spec) as model:
        whole = await ask(model, CAPITAL)
        request = chat(*((m.role, m.content) for m in CAPITAL.prompt), stop=("aris",))
        response = await ask(model, request)
    assert response.status == "ok"
    assert response.text == whole.text.partition("aris")[0]


async def test_a_prompt_beyond_the_context_is_a_request_error(spec):
    async with opened(spec) as model:
        with pytest.raises(RequestError, match=r"context|HTTP 400"):
            await ask(model, chat(("user", "word " * 5000)))


async def test_the_server_adapter_learns_what_llama_cpp_can_do(origin):
    async with opened(f"server/auto?base_url={origin}/v1&tokenizer=server") as model:
        able = model.capabilities
        response = await ask(model, text("The capital of France is", max_tokens=3))
    # its completions ignore echo, but list the next tokens with their ids
    assert able.loglikelihood
    assert not able.rolling
    assert able.context_length is not None
    assert able.context_length >= 1024
    assert "Paris" in response.text


CONTEXT = "The capital of Italy is Rome.\nThe capital of France is"
#: One token, several, and one that is far down any list.
CITIES = (" Paris", " London", " a city", " Paris, of course", " zebra")


def judged(context: str, continuations) -> list[Request]:
    return [Request(kind="loglikelihood", prompt=context, continuation=c) for c in continuations]


async def test_loglikelihoods_agree_with_the_same_model_in_process(origin):
    try:
        folder = embedded_transformers_folder()
    except DataError as error:
        pytest.skip(f"the embedded model cannot be had: {error}")
    requests = judged(CONTEXT, CITIES)
    async with opened(f"server/smollm2?base_url={origin}/v1") as model:
        by_server = await model.ask(requests)
    async with opened(f"hf/{folder}?dtype=float32&device=cpu") as model:
        in_process = await model.ask(requests)
    # llama.cpp computes in eight bits what transformers computes in 32
    assert [one.logprob for one in by_server] == [
        pytest.approx(one.logprob, abs=0.5) for one in in_process
    ]
    assert [one.greedy for one in by_server] == [one.greedy for one in in_process]


async def test_letters_after_one_context_take_one_request(origin, monkeypatch):
    posted = []
    async with opened(f"server/smollm2?base_url={origin}/v1") as model:
        post = model._client.post

        async def counted(url, body):
            posted.append(url.rpartition("/")[2])
            return await post(url, body)

        monkeypatch.setattr(model._client, "post", counted)
        context = "Question: which comes first?\nA. a\nB. b\nAnswer:"
        together = await model.ask(judged(context, (" A", " B")))
        sent = posted.count("completions")
        apart = [await ask(model, request) for request in judged(context, (" A", " B"))]
    assert sent == 1
    assert [one.logprob for one in together] == [
        pytest.approx(one.logprob, abs=0.05) for one in apart
    ]


async def test_answers_are_drawn_in_as_large_numbers_as_it_takes(origin):
    drawn = chat(("user", "Say a word."), temperature=1.0, max_tokens=4)
    requests = [msgspec.structs.replace(drawn, repeat=n) for n in range(2)]
    async with opened(f"server/smollm2?base_url={origin}/v1") as model:
        answers = await model.ask(requests)
    assert all(isinstance(answer, Response) for answer in answers)
    assert sum(answer.usage.input_tokens > 0 for answer in answers) == 1


async def test_openais_logprobs_come_back_as_the_answers(origin):
    async with opened(f"openai/smollm2?base_url={origin}/v1&logprobs=true") as model:
        response = await ask(model, chat(("user", "Say hi."), max_tokens=4))
    assert response.logprob is not None
    assert -50 < response.logprob <= 0
    assert math.isfinite(response.logprob)
