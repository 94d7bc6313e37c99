"""Weights whose kernels depend on the batch, and weights whose kernels do not."""

from __future__ import annotations

import platform

import pytest

from evalkit.config.model_spec import parse_model_spec
from evalkit.errors import DataError
from evalkit.models.llamacpp import create
from evalkit.records import Request, Sampling

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors, other kernels"),
]

PROMPT = "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday,"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from evalkit.models.embedded import embedded_model_path
    from tests.models.tiny_gguf import write_tiny_gguf

    try:
        source = embedded_model_path()
    except DataError as error:
        pytest.skip(f"the embedded model cannot be had: {error}")
    folder = tmp_path_factory.mktemp("gguf")
    return lambda precision: write_tiny_gguf(source, folder / f"{precision}.gguf", precision)


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


@pytest.mark.parametrize("precision", ["Q8_0", "Q4_0", "Q5_1"])
async def test_quantised_weights_use_the_cache(tiny, precision):
    model = await opened(tiny(precision))
    assert await cached_tokens(model) > 0
    assert not {"prompt_cache", "slots"} & set(model.identity)
    await model.close()
