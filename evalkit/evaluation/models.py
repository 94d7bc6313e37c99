"""What models there are, and what one of them can do."""

from __future__ import annotations

import asyncio

from evalkit.config.model_spec import ModelSpec, parse_model_spec
from evalkit.errors import ModelError
from evalkit.models.prices import known_prices
from evalkit.models.protocol import Model
from evalkit.models.registry import create_model, providers
from evalkit.records import Message, Record, Request, Response, Sampling


class Provider(Record, frozen=True, kw_only=True):
    """One provider: how it is written, what it needs, what it reaches."""

    name: str
    example: str
    needs: str = ""
    summary: str = ""


class Price(Record, frozen=True, kw_only=True):
    """A known price, in US dollars a million tokens."""

    provider: str
    model: str
    input: float
    output: float
    context_length: int | None = None


class KnownModels(Record, frozen=True, kw_only=True):
    """What `evalkit models list` prints."""

    providers: tuple[Provider, ...]
    prices: tuple[Price, ...]


class Checked(Record, frozen=True, kw_only=True):
    """What one request showed of a model."""

    model: str
    answered: bool
    facts: dict[str, str]


_PROVIDERS = {
    "anthropic": Provider(
        name="anthropic",
        example="anthropic/claude-3-5-sonnet-latest",
        needs="ANTHROPIC_API_KEY",
        summary="Anthropic's API",
    ),
    "hf": Provider(
        name="hf",
        example="hf/meta-llama/Llama-3.2-1B?dtype=bfloat16",
        needs="evalkit[hf]",
        summary="transformers in process: a hub id or ./folder",
    ),
    "llamacpp": Provider(
        name="llamacpp",
        example="llamacpp/smollm2-135m-instruct",
        needs="evalkit[local]",
        summary="a local GGUF file; this one is embedded",
    ),
    "lm_eval": Provider(
        name="lm_eval",
        example="lm_eval/hf?pretrained=gpt2",
        summary="any backend that lm-eval registers",
    ),
    "openai": Provider(
        name="openai",
        example="openai/gpt-4o",
        needs="OPENAI_API_KEY",
        summary="OpenAI's API",
    ),
    "scripted": Provider(
        name="scripted", example="scripted/echo", summary="a fake, for tests of your own"
    ),
    "server": Provider(
        name="server",
        example="server/NAME?base_url=http://localhost:8000/v1",
        summary="any OpenAI-compatible server: vLLM, SGLang, TGI, llama.cpp, Ollama",
    ),
    "vllm": Provider(
        name="vllm",
        example="vllm/meta-llama/Llama-3.1-8B-Instruct",
        summary="a vLLM server, on port 8000 of this machine unless base_url says otherwise",
    ),
}


def known_models() -> KnownModels:
    """The providers that are installed, and the models whose prices are known."""
    found = tuple(
        _PROVIDERS.get(name, Provider(name=name, example=f"{name}/NAME", summary=point.value))
        for name, point in sorted(providers().items())
    )
    return KnownModels(providers=found, prices=tuple(_prices()))


def _prices() -> list[Price]:
    return [
        Price(
            provider=provider,
            model=name,
            input=price.input,
            output=price.output,
            context_length=price.context_length,
        )
        for (provider, name), price in sorted(known_prices().items())
    ]


def check_model(text: str) -> Checked:
    """Send one small request to the model that `text` names.

    Raises:
        InputError: The spec, the key or the server is wrong.
    """
    return asyncio.run(_check(parse_model_spec(text)))


async def _check(spec: ModelSpec) -> Checked:
    model = create_model(spec)
    await model.open()
    try:
        return await _ask_once(spec, model)
    finally:
        await model.close()


async def _ask_once(spec: ModelSpec, model: Model) -> Checked:
    can = model.capabilities
    facts = {
        "chat": _yes(can.chat),
        "raw text": _yes(can.text),
        "log-likelihood": _yes(can.loglikelihood),
        "tools": _yes(can.tools),
        "context length": f"{can.context_length:,}" if can.context_length else "unknown",
        "longest answer": f"{can.max_output_tokens:,}" if can.max_output_tokens else "unknown",
    }
    question = "Say hello."
    prompt = (Message(role="user", content=question),) if can.chat else question
    request = Request(kind="generate", prompt=prompt, sampling=Sampling(max_tokens=16))
    try:
        (response,) = await model.ask([request])
        if isinstance(response, ModelError):
            raise response
    except ModelError as error:
        return Checked(model=spec.label, answered=False, facts={**facts, "answer": str(error)})
    answered = response.status != "error"
    return Checked(model=spec.label, answered=answered, facts={**facts, **_told(response)})


def _told(response: Response) -> dict[str, str]:
    return {
        "answer": response.error or response.text,
        "served as": response.served_model,
        "tokens": f"{response.usage.input_tokens} in, {response.usage.output_tokens} out",
        "latency": f"{response.latency_s:.2f} s",
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"
