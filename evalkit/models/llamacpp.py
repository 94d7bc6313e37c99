"""GGUF models in this process, through llama.cpp (https://github.com/ggml-org/llama.cpp).

Spec: `llamacpp/smollm2-135m-instruct` (the embedded model) or `llamacpp/./model.gguf`, with the
parameters of `LlamaCppParams`.

llama.cpp's own server runs inside this process on a free loopback port, behind a random key:
it owns the chat template, the slots and the stop strings, and a dropped connection ends an
answer that nobody waits for. It gives no log-probabilities of a prompt, so `loglikelihood` is
not among its capabilities.

What several prompts have in common at their beginning is computed once: what was computed stays
in the slots, and what would be overwritten there is kept aside (up to `KEPT_MIB`, the oldest go
first). A prompt that shares far more with one that is being answered than with those before
waits for it (with more than two slots, a third and later one may compute it again).

This must not change an answer, nor must it matter which request was first or what the other slots
do. So attention runs through the one kernel whose results do not depend on the batch
(`llamacpp_runtime`), and whether the model's weights have such kernels too is looked up and tried
when it is opened (`llamacpp_steady`). Those of the embedded model have, as do all of Q4_0, Q4_1,
Q5_0, Q5_1, Q8_0 and IQ4_NL. Float weights and K-quants have not: such a model answers one request
at a time and computes every prompt whole, unless the spec says otherwise; then the model's
identity says so too, for its answers depend on order and time.
"""

from __future__ import annotations

import asyncio
import importlib.util
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
from evalkit.models.llamacpp_gguf import read_header
from evalkit.models.llamacpp_prefixes import Prefixes
from evalkit.models.llamacpp_runtime import Setup, drop, on_cpu, start
from evalkit.models.llamacpp_steady import has_steady_types, is_steady
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
_SLOTS = 2
#: A prompt that begins like no other.
_OTHER = "\n"
#: llama.cpp draws its own seed when it is told this one.
_SEEDS = (1 << 32) - 1


class LlamaCppParams(Record, frozen=True, kw_only=True):
    """What a spec may set.

    Args:
        n_ctx: The context length of each slot; None takes the model's own, at most 32,768.
        threads: CPU threads; None takes all cores that this process may use but one, which is
            left to the rest of the run: llama.cpp's threads wait for each other at every step, and
            one that shares its core slows all of them down (two threads on two cores were 1.6
            times as fast as one when alone, and half as fast beside one busy process).
        slots: Answers written at the same time; None takes two, or one where two could change
            each other.
        seed: For sampled answers whose request sets none.
        prompt_cache: Whether what was computed for a prompt's beginning is used again; None uses
            it where that cannot change an answer.
        gpu_layers: Layers put on a GPU, for builds of xllamacpp that have one.
    """

    n_ctx: int | None = None
    threads: int | None = None
    slots: int | None = None
    seed: int = 0
    prompt_cache: bool | None = None
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
        self.concurrency = params.slots or _SLOTS
        self.identity = {"provider": "llamacpp", "name": Path(source).name}
        self.capabilities = Capabilities(chat=True, text=True)
        self._server: Any = None
        self._client: ServerClient | None = None
        self._key = secrets.token_urlsafe(24)
        self._settle(steady=False)

    async def open(self) -> None:
        """Fetch the embedded model if that is the one, and start llama.cpp.

        Raises:
            InputError: There is no such model, or it cannot be loaded.
        """
        if self._server is not None:
            return
        path = await asyncio.to_thread(model_path, self.source)
        header = await asyncio.to_thread(read_header, path)
        n_ctx = self.params.n_ctx or min(header.context_length, _DEFAULT_CONTEXT)
        self._settle(on_cpu(self.params.gpu_layers) and has_steady_types(header))
        setup = self._setup(path, n_ctx, header.head_length)
        self._server = await asyncio.to_thread(start, setup, self._key)
        self._client = ServerClient(label=self.name, key=self._key, timeout_s=_TIMEOUT_S)
        await self._client.open()
        self.capabilities = await self._capabilities()
        if self._steady:
            self._settle(await is_steady(self._client, self._server.listening_address, n_ctx))
        self.identity |= await asyncio.to_thread(self._details, setup)

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
        await asyncio.to_thread(drop, [server])
        del server

    async def _generate(self, request: Request) -> Response:
        if request.kind != "generate":
            raise RequestError(f"{self.name} gives no log-probabilities of a prompt")
        body = _sampling(request.sampling, request.repeat, self.params.seed)
        body["cache_prompt"] = self._cache
        if not self._cache:
            async with self._room:
                return await self._post(request, body)
        async with self._prefixes.turn(request) as turn, self._room:
            response = await self._post(request, body)
            if turn.awaited:
                await self._publish()
        return response

    async def _post(self, request: Request, body: Json) -> Response:
        if isinstance(request.prompt, str):
            if not request.prompt:
                raise RequestError("The prompt is empty")
            return text_response(
                await self._send("/v1/completions", body | {"prompt": request.prompt})
            )
        body["messages"] = chat_messages(request.prompt)
        if request.tools:
            body["tools"] = tool_definitions(request.tools)
        answer = await self._send("/v1/chat/completions", body)
        last = request.prompt[-1]
        prefill = last.content if last.role == "assistant" else ""
        return _without_prefill(chat_response(answer), prefill)

    async def _publish(self) -> None:
        """Have what the slot just computed kept aside, where another slot finds it.

        llama.cpp keeps the contents of all idle slots when it starts a request, so one of a
        single token to an idle slot does.
        """
        body = {"prompt": _OTHER, "n_predict": 1, "temperature": 0, "cache_prompt": True}
        await self._send("/completion", body)

    async def _send(self, path: str, body: Json) -> bytes:
        assert self._client is not None, "open() comes first"
        return await self._client.post(f"{self._server.listening_address}{path}", body)

    def _settle(self, steady: bool) -> None:
        """Choose what cannot change an answer, where the spec does not choose.

        Args:
            steady: Whether the model computes a token alike whatever is computed beside it.
        """
        self._steady, self._prefixes = steady, Prefixes()
        self._slots = self.params.slots or (_SLOTS if steady else 1)
        self._room = asyncio.Semaphore(self._slots)
        wish = self.params.prompt_cache
        self._cache = steady if wish is None else wish

    def _setup(self, path: Path, n_ctx: int, head_length: int) -> Setup:
        return Setup(
            path=path,
            n_ctx=n_ctx,
            slots=self._slots,
            threads=self.params.threads,
            gpu_layers=self.params.gpu_layers,
            keep_prompts=self._cache,
            steady=self._steady,
            head_length=head_length,
        )

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

    def _details(self, setup: Setup) -> dict[str, str]:
        slots = str(self._slots) if self._slots > 1 else ""
        details = {
            "weights": file_fingerprint(setup.path),
            "n_ctx": str(setup.n_ctx),
            "runtime": f"xllamacpp {version('xllamacpp')}",
            "keys": setup.key_type if setup.steady else "",
            "prompt_cache": "on" if self._cache and not self._steady else "",
            "slots": "" if self._steady else slots,
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
