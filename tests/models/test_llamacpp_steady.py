"""Kernels whose results depend on the batch, and kernels whose results do not."""

from __future__ import annotations

import asyncio
import platform

import pytest

from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import DataError
from evalkit.models.llamacpp import create
from evalkit.models.llamacpp_runtime import Setup, drop, start
from evalkit.models.llamacpp_steady import likely_alike
from evalkit.models.server_client import ServerClient
from evalkit.records import Request, Sampling

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors, other kernels"),
]

PROMPT = "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday,"


@pytest.fixture(scope="module")
def weights():
    from evalkit.models.embedded import embedded_model_path

    try:
        return embedded_model_path()
    except DataError as error:
        pytest.skip(f"the embedded model cannot be had: {error}")


@pytest.fixture(scope="module")
def tiny(weights, tmp_path_factory):
    from tests.models.tiny_gguf import write_tiny_gguf

    folder = tmp_path_factory.mktemp("gguf")
    return lambda precision: write_tiny_gguf(weights, folder / f"{precision}.gguf", precision)


async def alike(path, steady, head_length=64):
    """Whether a prompt of 100 tokens may be cut anywhere, under one or the other attention."""
    setup = Setup(
        path=path,
        n_ctx=256,
        slots=1,
        threads=1,
        gpu_layers=0,
        keep_prompts=True,
        steady=steady,
        head_length=head_length,
    )
    server = start(setup, "key")
    client = ServerClient(label="tiny", key="key", timeout_s=60)
    await client.open()
    same = await likely_alike(client, server.listening_address, range(1000, 1100), (1, 5, 45))
    await client.close()
    await asyncio.to_thread(drop, [server])
    return same


@pytest.mark.parametrize("steady", [True, False])
async def test_only_the_steady_attention_computes_long_prompts_alike(weights, steady):
    assert await alike(weights, steady) == steady


async def test_so_does_that_for_heads_that_are_no_whole_blocks(weights):
    assert await alike(weights, steady=True, head_length=80)


async def opened(path, parameters=""):
    model = create(parse_model_spec(f"llamacpp/{path}?n_ctx=256&threads=1{parameters}"))
    await model.open()
    return model


async def cached_tokens(model):
    """Tokens that the second of two equal requests found in the cache."""
    request = Request(kind="generate", prompt=PROMPT, sampling=Sampling(max_tokens=1))
    await model.ask([request])
    (response,) = await model.ask([request])
    return response.usage.cached_tokens


async def test_float_weights_compute_every_prompt_whole_and_alone(tiny):
    model = await opened(tiny("F16"))
    assert await cached_tokens(model) == 0
    assert not {"prompt_cache", "slots"} & set(model.identity)
    await model.close()


async def test_a_wish_that_can_change_answers_stands_in_the_identity(tiny):
    model = await opened(tiny("F16"), "&prompt_cache=true&slots=2")
    assert await cached_tokens(model) > 0
    assert (model.identity["prompt_cache"], model.identity["slots"]) == ("on", "2")
    await model.close()


@pytest.mark.parametrize("precision", ["Q8_0", "Q5_1"])
async def test_quantised_weights_use_the_cache(tiny, precision):
    model = await opened(tiny(precision))
    assert await cached_tokens(model) > 0
    assert not {"prompt_cache", "slots"} & set(model.identity)
    await model.close()
