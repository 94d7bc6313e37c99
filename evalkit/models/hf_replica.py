"""One copy of a model on one device, and all the work that is done with it, in one thread."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from evalkit.models.hf_batches import Batches, free_memory
from evalkit.models.hf_chat import ChatTemplate
from evalkit.models.hf_ends import Answer, Prompt
from evalkit.models.hf_generation import generate
from evalkit.models.hf_loading import HFParams, Loaded
from evalkit.models.hf_memory import pass_tokens, prefix_bytes
from evalkit.models.hf_prefix import Prefixes
from evalkit.models.hf_reader import Limits, Reader, Sharing
from evalkit.models.hf_scoring import Scorer
from evalkit.models.hf_sharing import sharing_of
from evalkit.models.tokens import Pair, TextTokenizer
from evalkit.records import Message, Request, Response, Usage, canonical

Work = TypeVar("Work")
_log = logging.getLogger(__name__)


class Replica:
    """Answers requests of one kind at a time, in the thread that calls it.

    Args:
        loaded: The model on its device.
        params: What the spec sets.
        name: What log lines call the model.
    """

    def __init__(self, loaded: Loaded, params: HFParams, name: str) -> None:
        self.loaded, self.params, self.name = loaded, params, name
        self.tokens = TextTokenizer(loaded.tokenizer, params.add_bos_token)
        self.chat = ChatTemplate(loaded.tokenizer)
        device = loaded.model.device
        self._limits = Limits(params.batch_tokens or pass_tokens(device), params.batch_size)
        self._prefixes = Prefixes(prefix_bytes(device, params.prefix_mb))
        self._batches = Batches(params.batch_size)
        self._scorer: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """What reads and scores; how far it may share is found out when it is first needed."""
        if self._scorer is None:
            off = Sharing(0, why="share_prefixes is off")
            sharing = sharing_of(self.loaded.model) if self.params.share_prefixes else off
            if sharing.why:
                _log.warning("%s", _said(self.name, sharing))
            reader = Reader(self.loaded.model, sharing, self._limits, self._prefixes)
            self._scorer = Scorer(reader)
        return self._scorer

    def render(self, prompt: str | tuple[Message, ...]) -> str:
        """The exact text that the model reads for a prompt."""
        return prompt if isinstance(prompt, str) else self.chat.render(prompt)

    def answer(self, requests: Sequence[Request], stop: threading.Event) -> list[Response]:
        """The responses to requests of one kind; `stop` ends the work after its current pass."""
        self._batches.stop = self.scorer.reader.stop = stop
        write = self._generate if requests[0].kind == "generate" else self._score
        try:
            return write(requests)
        except MemoryError as error:
            if len(requests) == 1:
                return [Response(status="error", error=str(error))]
            return [self.answer([request], stop)[0] for request in requests]

    def stop(self) -> None:
        """End the work in progress."""
        self._batches.stop.set()

    def release(self) -> None:
        """Give the device its memory back."""
        self._prefixes.clear()
        if self.loaded.model.device.type != "cpu":
            free_memory()

    def _score(self, requests: Sequence[Request]) -> list[Response]:
        return _each(requests, self._windows, self._score_windows)

    def _windows(self, request: Request) -> list[Pair]:
        text, limit = self.render(request.prompt), self.loaded.context_length
        if request.kind == "rolling":
            return self.tokens.windows(text, limit)
        context, continuation = self.tokens.pair(text, request.continuation)
        if len(context) + len(continuation) > limit + 1:
            raise ValueError(_too_long(len(context) + len(continuation) - 1, limit))
        return [(context, continuation)]

    def _score_windows(
        self, requests: Sequence[Request], texts: Sequence[list[Pair]]
    ) -> list[Response]:
        likelihoods = iter(self.scorer.score([pair for windows in texts for pair in windows]))
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
        if request.tools:
            raise ValueError("hf models take no tool definitions")
        text, limit = self.render(request.prompt), self.loaded.context_length
        ids = self.tokens.encode_prompt(text)
        if not ids:
            raise ValueError("the prompt is empty")
        room = limit - len(ids)
        if room < 1:
            raise ValueError(_too_long(len(ids) + 1, limit))
        wanted = request.sampling.max_tokens
        if wanted is not None and wanted < 1:
            raise ValueError(f"max_tokens must be at least 1, got {wanted}")
        seed = _seed(request, text, self.params.seed)
        return Prompt(ids, room if wanted is None else min(wanted, room), request.sampling, seed)

    def _write(self, _: Sequence[Request], prompts: Sequence[Prompt]) -> list[Response]:
        answers = generate(self.scorer.reader, self.loaded.tokenizer, prompts, self._batches)
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


def _said(name: str, sharing: Sharing) -> str:
    """One sentence on what a model cannot share."""
    if not sharing.writes:
        return f"{name} shares prefixes, but {sharing.why}"
    reach = f"beyond {sharing.deepest} tokens" if sharing.deepest else "at all"
    return f"{name} shares no prefixes {reach}: {sharing.why}"


def _too_long(tokens: int, limit: int) -> str:
    return f"it needs {tokens} tokens, and the context holds {limit}: nothing is cut silently"
