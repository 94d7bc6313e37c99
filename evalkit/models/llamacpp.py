"""GGUF models in this process, through llama.cpp (https://github.com/ggml-org/llama.cpp).

Spec: `llamacpp/smollm2-135m-instruct` (the embedded model) or `llamacpp/./model.gguf`, with the
parameters of `LlamaCppParams`.

llama.cpp's own server runs inside this process on a free loopback port, behind a random key:
it owns the chat template, the slots and the stop strings, and a dropped connection ends an
answer that nobody waits for. It gives no log-probabilities of a prompt, so `loglikelihood` is
not among its capabilities.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import urllib.request
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import InputError, RequestError, UnknownNameError
from evalkit.models import embedded
from evalkit.models.hf_identity import file_fingerprint
from evalkit.models.llamacpp_gguf import context_length
from evalkit.models.parameters import estimate_tokens
from evalkit.models.protocol import Capabilities
from evalkit.models.server_client import ServerClient
from evalkit.models.wire import chat_messages, chat_response, text_response, tool_definitions
from evalkit.records import Record, Request, Response, Sampling, content_hash

Json = dict[str, Any]

#: How long a context gets where the spec does not say: the model's own, up to this.
_DEFAULT_CONTEXT = 32768
#: The most that one answer may take; small machines are slow.
_TIMEOUT_S = 3600.0
#: llama.cpp draws its own seed when it is told this one.
_SEEDS = (1 << 32) - 1


class LlamaCppParams(Record, frozen=True, kw_only=True):
    """What a spec may set.

    Args:
        n_ctx: The context length of each slot; None takes the model's own, at most 32,768.
        threads: CPU threads; None takes all cores that this process may use but one, which is
            left to the rest of the run: llama.cpp's threads wait for each other at every step, and
            one that shares its core slows all of them down.
        slots: Answers written at the same time.
        seed: For sampled answers whose request sets none.
        prompt_cache: Reuses the computation of a prompt's beginning that it shares with the slot's
            last one. Faster, but then a greedy answer can differ with the order of the requests.
        gpu_layers: Layers put on a GPU, for builds of xllamacpp that have one.
    """

    n_ctx: int | None = None
    threads: int | None = None
    slots: int = 2
    seed: int = 0
    prompt_cache: bool = False
    gpu_layers: int = -1


def create(spec: ModelSpec) -> LlamaCppModel:
    """The model that `spec` names; nothing is fetched or loaded yet.

    Raises:
        InputError: A parameter is unknown or wrong.
        ModuleNotFoundError: xllamacpp is not installed.
    """
    params = read_params(spec, LlamaCppParams)
    for name in ("n_ctx", "threads", "slots"):
        value = getattr(params, name)
        if value is not None and value < 1:
            raise InputError(f"Model {spec.label!r}: {name} must be at least 1, not {value}")
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModuleNotFoundError("No module named 'xllamacpp'", name="xllamacpp")
    return LlamaCppModel(spec.name, params, name=spec.label)


class LlamaCppModel:
    """A GGUF model under llama.cpp; `identity` and `capabilities` are final after `open`."""

    provider = "llamacpp"
    batch = 1
    #: A small machine may take long for a long prompt; nothing is gained by asking it again.
    deadline_s = None
    in_process = True

    def __init__(self, source: str, params: LlamaCppParams, *, name: str = "") -> None:
        self.source, self.params, self.name = source, params, name or f"llamacpp/{source}"
        self.concurrency = params.slots
        self.identity = {"provider": "llamacpp", "name": Path(source).name}
        self.capabilities = Capabilities(chat=True, text=True)
        self._server: Any = None
        self._client: ServerClient | None = None
        self._key = secrets.token_urlsafe(24)

    async def open(self) -> None:
        """Fetch the embedded model if that is the one, and start llama.cpp.

        Raises:
            InputError: There is no such model, or it cannot be loaded.
        """
        if self._server is not None:
            return
        path = await asyncio.to_thread(model_path, self.source)
        n_ctx = self.params.n_ctx or min(context_length(path), _DEFAULT_CONTEXT)
        self._server = await asyncio.to_thread(_start, path, n_ctx, self.params, self._key)
        self._client = ServerClient(label=self.name, key=self._key, timeout_s=_TIMEOUT_S)
        await self._client.open()
        self.capabilities = await self._capabilities()
        self.identity |= await asyncio.to_thread(self._details, path, n_ctx)

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Answer requests to generate, one after another.

        Raises:
            ModelError: The attempt failed.
        """
        return [await self._generate(request) for request in requests]

    def count_tokens(self, text: str) -> int:
        """Tokens in `text`: exact once open, before that an estimate."""
        if self._server is None:
            return estimate_tokens(text)
        request = urllib.request.Request(  # noqa: S310 the address is our own loopback server
            f"{self._server.listening_address}/tokenize",
            data=msgspec.json.encode({"content": text}),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return len(msgspec.json.decode(answer.read())["tokens"])

    async def close(self) -> None:
        """Stop llama.cpp and give the memory back."""
        if self._client is not None:
            await self._client.close()
        server, self._server, self._client = self._server, None, None
        # its destructor waits for its threads, so it must not run on the event loop
        await asyncio.to_thread(_drop, [server])
        del server

    async def _generate(self, request: Request) -> Response:
        if request.kind != "generate":
            raise RequestError(f"{self.name} gives no log-probabilities of a prompt")
        assert self._client is not None, "open() comes first"
        body = _sampling(request.sampling, request.repeat, self.params.seed)
        body["cache_prompt"] = self.params.prompt_cache
        address = self._server.listening_address
        if isinstance(request.prompt, str):
            if not request.prompt:
                raise RequestError("The prompt is empty")
            answer = await self._client.post(
                f"{address}/v1/completions", body | {"prompt": request.prompt}
            )
            return text_response(answer)
        body["messages"] = chat_messages(request.prompt)
        if request.tools:
            body["tools"] = tool_definitions(request.tools)
        answer = await self._client.post(f"{address}/v1/chat/completions", body)
        last = request.prompt[-1]
        prefill = last.content if last.role == "assistant" else ""
        return _without_prefill(chat_response(answer), prefill)

    async def _capabilities(self) -> Capabilities:
        assert self._client is not None
        _, body = await self._client.get(f"{self._server.listening_address}/props")
        props = msgspec.json.decode(body)
        template = props.get("chat_template_caps", {})
        return Capabilities(
            chat=bool(props.get("chat_template")),
            text=True,
            tools=bool(template.get("supports_tools")),
            system=bool(template.get("supports_system_role", True)),
            context_length=props["default_generation_settings"]["n_ctx"],
        )

    def _details(self, path: Path, n_ctx: int) -> dict[str, str]:
        details = {
            "weights": file_fingerprint(path),
            "n_ctx": str(n_ctx),
            "runtime": f"xllamacpp {version('xllamacpp')}",
            "prompt_cache": "on" if self.params.prompt_cache else "",
            "seed": str(self.params.seed or ""),
        }
        return {key: value for key, value in details.items() if value}


def model_path(source: str) -> Path:
    """The GGUF file that `source` means: the embedded model's name, or a path.

    Raises:
        UnknownNameError: Neither.
        DataError: The embedded model cannot be fetched.
    """
    if source == embedded.NAME:
        return embedded.embedded_model_path()
    path = Path(source).expanduser()
    if path.is_file():
        return path
    raise UnknownNameError(
        "GGUF model", source, [embedded.NAME], f"Known: {embedded.NAME}, or the path of a file."
    )


def _start(path: Path, n_ctx: int, params: LlamaCppParams, key: str) -> Any:
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path, options.model_alias = str(path), path.name
    # llama.cpp divides the context among its slots
    options.n_parallel, options.n_ctx = params.slots, n_ctx * params.slots
    options.hostnames, options.port, options.api_keys = ["127.0.0.1"], 0, [key]
    options.verbosity = -1
    options.warmup = options.ui = options.endpoint_slots = options.fit_params = False
    options.n_gpu_layers = params.gpu_layers
    threads = params.threads or max(1, _cores() - 1)
    for pool in (options.cpuparams, options.cpuparams_batch):
        pool.n_threads, pool.poll = threads, 0  # idle threads sleep: other work shares the cores
    try:
        return xllamacpp.Server(options)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise InputError(f"llama.cpp cannot load {path}: {error}") from error


def _drop(server: list[Any]) -> None:
    server.clear()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _sampling(sampling: Sampling, repeat: int, seed: int) -> Json:
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise RequestError(f"max_tokens must be at least 1, not {sampling.max_tokens}")
    wishes = {name: getattr(sampling, name) for name in ("max_tokens", "temperature", "top_p")}
    body: Json = {name: wish for name, wish in wishes.items() if wish is not None}
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.temperature != 0:
        chosen = seed if sampling.seed is None else sampling.seed
        body["seed"] = chosen if not repeat else int(content_hash(chosen, repeat), 16) % _SEEDS
    return body


def _without_prefill(response: Response, prefill: str) -> Response:
    """llama.cpp repeats the beginning that it was given; an answer is what came after."""
    if not prefill or not response.text.startswith(prefill):
        return response
    return msgspec.structs.replace(response, text=response.text[len(prefill) :])
