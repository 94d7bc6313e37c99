"""Fixtures for tests of HTTP adapters: local servers, opened models, a small real tokenizer."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.local_server import LocalServer
from benchmarks.server_settings import Settings, ToyTokenizer
from benchmarks.toy_language import BOS, score
from evalkit.config.model_spec import parse_model_spec
from evalkit.models.registry import create_model
from evalkit.records import Message, Request, Sampling, Tool

KEY = "sk-local-0123456789abcdef"

WEATHER = Tool(
    name="weather",
    description="The weather of a place",
    parameters={"type": "object", "properties": {"place": {"type": "string"}}},
)


@pytest.fixture
def serve() -> Iterator[Callable[..., LocalServer]]:
    """Starts local servers with the given settings; stops them at the end."""
    running: list[LocalServer] = []

    def start(**settings) -> LocalServer:
        running.append(LocalServer(Settings(**settings)).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def keys(monkeypatch) -> str:
    """Sets both providers' keys; returns the key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    return KEY


@asynccontextmanager
async def opened(spec: str) -> AsyncIterator:
    """The opened model of a spec; closed at the end."""
    model = create_model(parse_model_spec(spec))
    await model.open()
    try:
        yield model
    finally:
        await model.close()


async def ask(model, request: Request):
    """The one answer to one request."""
    [response] = await model.ask([request])
    return response


def chat(*turns: tuple[str, str], **sampling) -> Request:
    """A request of messages, given as pairs of a role and a text."""
    messages = tuple(Message(role=role, content=text) for role, text in turns)
    return Request(kind="generate", prompt=messages, sampling=Sampling(**sampling))


def text(prompt: str, **sampling) -> Request:
    """A request of raw text."""
    return Request(kind="generate", prompt=prompt, sampling=Sampling(**sampling))


def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class HuggingFaceTokens:
    """A transformers tokenizer in the form the local server takes."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer
        self.bos = tokenizer.bos_token_id

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, tokens) -> str:
        return self.tokenizer.decode(list(tokens))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> str:
    """A folder with a byte-level BPE tokenizer, trained here, that has a chat template."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the sky is blue and the grass is green", "user assistant"], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return str(folder)


TOY = ToyTokenizer()


def server_spec(server, name="local-model", **params) -> str:
    """The spec of a model of a local server."""
    query = "".join(f"&{key}={value}" for key, value in params.items())
    return f"server/{name}?base_url={server.base_url}{query}"


def pair(context: str, continuation: str) -> Request:
    """A request for the log-likelihood of a continuation."""
    return Request(kind="loglikelihood", prompt=context, continuation=continuation)


def expected(context: str, continuation: str) -> tuple[float, bool]:
    """What the toy language model says of a pair whose context ends in no white space."""
    before = [BOS, *TOY.encode(context)]
    whole = [BOS, *TOY.encode(context + continuation)]
    return score(before, whole[len(before) :])
