"""Models of `transformers`, in this process, on a GPU or the CPU.

Spec: `hf/NAME?dtype=float32&device=cpu&batch_size=8&…` where NAME is a folder (`./my-model`,
`/models/my-model`) or an id on the Hugging Face hub; `HFParams` lists the parameters.

Prompts, log-likelihoods and greedy answers are those of lm-eval's `hf` backend (0.4.13), with
one difference: what does not fit into the context is an error of that sample, never cut. An
answer may be as long as the context leaves room for, also where the request allows more; one
that ends there has the status `truncated`.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import InputError, RequestError
from evalkit.models.hf_batches import Batches, free_memory
from evalkit.models.hf_chat import ChatTemplate
from evalkit.models.hf_generation import Answer, Prompt, generate
from evalkit.models.hf_loading import HFParams, Loaded, load
from evalkit.models.hf_scoring import score
from evalkit.models.protocol import Capabilities
from evalkit.models.tokens import Pair, TextTokenizer
from evalkit.records import Message, Request, Response, Usage, canonical

Work = TypeVar("Work")
Result = TypeVar("Result")


def create(spec: ModelSpec) -> HFModel:
    """The model that `spec` names; nothing is loaded yet.

    Raises:
        InputError: A parameter is unknown or wrong.
        ModuleNotFoundError: torch or transformers is not installed.
    """
    params = read_params(spec, HFParams)
    if params.batch_size < 1 or params.batch < 1:
        raise InputError(f"Model {spec.label!r}: batch_size and batch must be at least 1")
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return HFModel(spec.name, params, name=spec.label)


class HFModel:
    """A causal language model of `transformers`; all its work is done in one thread of its own.

    `identity` and `capabilities` are final after `open`.
    """

    provider = "hf"
    concurrency = 1
    #: Work in this process cannot be taken back, and asking again would only repeat it.
    deadline_s = None
    in_process = True

    def __init__(self, source: str, params: HFParams, *, name: str = "") -> None:
        self.source, self.params, self.name = source, params, name or f"hf/{source}"
        self.batch = params.batch
        self.identity = {"provider": "hf", "name": source}
        self._batches = Batches(params.batch_size)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evalkit-hf")
        self._closed = False
        self._loaded: Loaded | None = None
        self._tokens: TextTokenizer | None = None
        self._chat: ChatTemplate | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; messages only where the tokenizer has a chat template."""
        return Capabilities(
            chat=self._chat is not None and self._chat.exists,
            text=True,
            loglikelihood=True,
            system=self._chat is not None and self._chat.takes_system,
            context_length=self._loaded.context_length if self._loaded else None,
        )

    async def open(self) -> None:
        """Load the model.

        Raises:
            InputError: It cannot be had, or is not a causal language model.
        """
        if self._loaded is None:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._load)

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Answer requests of one kind; what does not fit the context is answered by an error.

        Raises:
            RequestError: The model's own code failed on them.
        """
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._worker, self._answer, requests, stop)
        finally:
            stop.set()  # where the caller was cancelled, the thread must not go on

    def render(self, prompt: str | tuple[Message, ...]) -> str:
        """The exact text that the model reads for a prompt.

        Raises:
            ValueError: The tokenizer has no chat template, or it refuses the messages.
        """
        assert self._chat is not None, "open() comes first"
        return prompt if isinstance(prompt, str) else self._chat.render(prompt)

    def count_tokens(self, text: str) -> int:
        """Tokens in `text`, without special tokens."""
        assert self._tokens is not None, "open() comes first"
        return len(self._tokens.encode_plain(text))

    async def close(self) -> None:
        """Stop what is running and give the memory back."""
        if self._closed:
            return
        self._closed = True
        self._batches.stop.set()
        await asyncio.get_running_loop().run_in_executor(self._worker, self._release)
        self._worker.shutdown()

    def _load(self) -> None:
        loaded = load(self.source, self.params)
        self._tokens = TextTokenizer(loaded.tokenizer, self.params.add_bos_token)
        self._chat = ChatTemplate(loaded.tokenizer)
        self.identity |= self._details(loaded)
        self._loaded = loaded

    def _details(self, loaded: Loaded) -> dict[str, str]:
        assert self._chat is not None
        bos = self.params.add_bos_token
        details = {
            "version": loaded.version,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": loaded.model.device.type,
            "context_length": str(loaded.context_length),
            "chat_template": self._chat.fingerprint(),
            "system_messages": "" if self._chat.takes_system else "left out",
            "tokenizer": self.params.tokenizer,
            "add_bos_token": "" if bos is None else str(bos),
            "attention": self.params.attn,
            "seed": str(self.params.seed or ""),
        }
        return {key: value for key, value in details.items() if value}

    def _release(self) -> None:
        if self._loaded is None:
            return
        device = self._loaded.model.device.type
        self._loaded = None
        if device != "cpu":
            free_memory()

    # What follows runs in the worker thread.

    def _answer(self, requests: Sequence[Request], stop: threading.Event) -> list[Response]:
        self._batches.stop = stop
        write = {"generate": self._generate}.get(requests[0].kind, self._score)
        try:
            return write(requests)
        except MemoryError as error:
            if len(requests) == 1:
                return [Response(status="error", error=str(error))]
            return [self._answer([request], stop)[0] for request in requests]
        except (RuntimeError, IndexError, ValueError) as error:
            raise RequestError(f"{self.name} failed: {error}") from error

    def _score(self, requests: Sequence[Request]) -> list[Response]:
        return _each(requests, self._windows, self._score_windows)

    def _windows(self, request: Request) -> list[Pair]:
        assert self._tokens is not None and self._loaded is not None
        text, limit = self.render(request.prompt), self._loaded.context_length
        if request.kind == "rolling":
            return self._tokens.windows(text, limit)
        context, continuation = self._tokens.pair(text, request.continuation)
        if len(context) + len(continuation) > limit + 1:
            raise ValueError(_too_long(len(context) + len(continuation) - 1, limit))
        return [(context, continuation)]

    def _score_windows(
        self, requests: Sequence[Request], texts: Sequence[list[Pair]]
    ) -> list[Response]:
        assert self._loaded is not None
        pairs = [pair for windows in texts for pair in windows]
        likelihoods = iter(score(self._loaded.model, pairs, self._batches))
        responses = []
        for request, windows in zip(requests, texts, strict=True):
            found = [next(likelihoods) for _ in windows]
            responses.append(
                Response(
                    logprob=sum(one.logprob for one in found),
                    greedy=found[0].greedy if request.kind == "loglikelihood" else None,
                    usage=Usage(input_tokens=sum(len(a) + len(b) for a, b in windows)),
                )
            )
        return responses

    def _generate(self, requests: Sequence[Request]) -> list[Response]:
        return _each(requests, self._prompt, self._write)

    def _prompt(self, request: Request) -> Prompt:
        assert self._tokens is not None and self._loaded is not None
        if request.tools:
            raise ValueError("hf models take no tool definitions")
        text = self.render(request.prompt)
        ids = self._tokens.encode_prompt(text)
        if not ids:
            raise ValueError("the prompt is empty")
        room = self._loaded.context_length - len(ids)
        if room < 1:
            raise ValueError(_too_long(len(ids) + 1, self._loaded.context_length))
        wanted = request.sampling.max_tokens
        if wanted is not None and wanted < 1:
            raise ValueError(f"max_tokens must be at least 1, got {wanted}")
        seed = _seed(request, text, self.params.seed)
        return Prompt(ids, room if wanted is None else min(wanted, room), request.sampling, seed)

    def _write(self, _: Sequence[Request], prompts: Sequence[Prompt]) -> list[Response]:
        assert self._loaded is not None
        answers = generate(self._loaded.model, self._loaded.tokenizer, prompts, self._batches)
        return [_response(p, a) for p, a in zip(prompts, answers, strict=True)]


def _each(
    requests: Sequence[Request],
    prepare: Callable[[Request], Work],
    run: Callable[[Sequence[Request], Sequence[Work]], Sequence[Response]],
) -> list[Response]:
    """The responses of `run` where `prepare` succeeds, and errors where it raises ValueError."""
    responses: dict[int, Response] = {}
    ready: dict[int, Any] = {}
    for index, request in enumerate(requests):
        try:
            ready[index] = prepare(request)
        except ValueError as error:
            responses[index] = Response(status="error", error=str(error))
    answers = run([requests[index] for index in ready], list(ready.values()))
    responses.update(zip(ready, answers, strict=True))
    return [responses[index] for index in range(len(requests))]


def _response(prompt: Prompt, answer: Answer) -> Response:
    return Response(
        status="ok" if answer.finished else "truncated",
        text=answer.text,
        finish_reason="stop" if answer.finished else "length",
        usage=Usage(input_tokens=len(prompt.ids), output_tokens=answer.tokens),
    )


def _seed(request: Request, text: str, default: int) -> int:
    """The seed of one request's draws: the same wherever it is asked, another for each repeat."""
    seed = default if request.sampling.seed is None else request.sampling.seed
    digest = hashlib.sha256(canonical([seed, request.repeat, text])).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _too_long(tokens: int, limit: int) -> str:
    return f"it needs {tokens} tokens, and the context holds {limit}: nothing is cut silently"
