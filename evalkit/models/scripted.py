"""A model that answers what a test tells it to: deterministic, offline, free.

In Python, with a function or a queue of answers:

    model = ScriptedModel(lambda request: "42")
    model = ScriptedModel().enqueue("first", TransientError("busy"), "second")
    model.requests    # everything that it was asked

As a spec: `scripted/echo` repeats the last message, `scripted/fixed?text=B` says one thing,
`scripted/first-choice` the first letter, `scripted/random?seed=1` a letter drawn from a hash of
the prompt. Parameters: `ScriptedParams`.

Log-likelihoods come from a hash of prompt and continuation, so they are the same wherever and
in whatever order they are asked.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import InputError, UnknownNameError
from evalkit.models.protocol import Capabilities
from evalkit.records import Record, Request, Response, Usage, content_hash

#: What a script may give for one request; an exception is raised.
Reply = Response | str | Exception
#: Answers one request.
Answer = Callable[[Request], Reply]

_WORDS = re.compile(r"\S+")
_LETTERS = "ABCD"


class ScriptedParams(Record, frozen=True, kw_only=True):
    """What a spec may set.

    Args:
        text: What `fixed` says.
        seed: For `random`, and for all log-likelihoods.
        concurrency: Calls in flight.
        batch: Requests a call.
        latency_s: How long each call takes.
        loglikelihood: Whether it scores continuations.
        chat: Whether it takes messages.
        raw_text: Whether it takes raw prompts.
        tools: Whether it takes tool definitions.
        context_length: The context length that it states.
    """

    text: str = ""
    seed: int = 0
    concurrency: int = 8
    batch: int = 1
    latency_s: float = 0.0
    loglikelihood: bool = True
    chat: bool = True
    raw_text: bool = True
    tools: bool = True
    context_length: int | None = None


def create(spec: ModelSpec) -> ScriptedModel:
    """The model that `spec` names.

    Raises:
        UnknownNameError: No such script.
        InputError: A parameter is unknown or wrong.
    """
    params = read_params(spec, ScriptedParams)
    if params.concurrency < 1 or params.batch < 1 or params.latency_s < 0:
        raise InputError(f"Model {spec.label!r}: concurrency and batch are at least 1, latency_s 0")
    if spec.name not in SCRIPTS:
        known = f"Known: {', '.join(sorted(SCRIPTS))}."
        raise UnknownNameError("script", spec.name, SCRIPTS, known)
    fixed = {name: str(value) for name, value in spec.params.items() if name in ("text", "seed")}
    return ScriptedModel(
        SCRIPTS[spec.name](params),
        name=spec.label,
        identity={"provider": "scripted", "name": spec.name, **fixed},
        capabilities=_capabilities(params),
        concurrency=params.concurrency,
        batch=params.batch,
        latency_s=params.latency_s,
        seed=params.seed,
    )


class ScriptedModel:
    """A model that follows a script, and remembers what it was asked.

    What is queued comes first; then `answer` is called. A string becomes a `Response` with
    usage counted in words, an exception is raised in place of the whole call's answers.
    Requests for log-likelihoods go to the hash unless something is queued, or `scores` is given.

    Args:
        answer: Answers generation; by default the last message is repeated.
        scores: Answers log-likelihood requests.
        name: What tables call it.
        identity: What stands in journal keys.
        capabilities: What it says it can do.
        concurrency: Calls in flight.
        batch: Requests a call.
        latency_s: How long each call takes, slept by `sleep`.
        sleep: For tests with a clock of their own.
        seed: Of the log-likelihoods.

    Attributes:
        requests: Every request it was asked, in order.
        calls: The requests of each call of `ask`.
        most_in_flight: The highest number of calls that were in progress at once.
        is_open: Whether `open` was called, and `close` not yet.
    """

    provider = "scripted"

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        scores: Answer | None = None,
        name: str = "scripted",
        identity: dict[str, str] | None = None,
        capabilities: Capabilities | None = None,
        concurrency: int = 8,
        batch: int = 1,
        latency_s: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        seed: int = 0,
    ) -> None:
        self.name, self.concurrency, self.batch = name, concurrency, batch
        self.identity = identity or {"provider": "scripted", "name": name}
        self.capabilities = capabilities or _capabilities(ScriptedParams())
        self.latency_s, self.seed = latency_s, seed
        self.calls: list[tuple[Request, ...]] = []
        self.most_in_flight = 0
        self.is_open = False
        self._answer, self._scores, self._sleep = answer or echo, scores, sleep
        self._queue: deque[Reply] = deque()
        self._in_flight = 0

    @property
    def requests(self) -> list[Request]:
        """Every request it was asked, in order."""
        return [request for call in self.calls for request in call]

    def enqueue(self, *replies: Reply) -> ScriptedModel:
        """Answer the next requests with `replies`, in order; returns the model itself."""
        self._queue.extend(replies)
        return self

    async def open(self) -> None:
        """Note that it is open."""
        self.is_open = True

    async def ask(self, requests: Sequence[Request]) -> list[Response]:
        """Answer by the script.

        Raises:
            Exception: What the script has in place of an answer.
        """
        self.calls.append(tuple(requests))
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await self._sleep(self.latency_s)
            return [self._reply(request) for request in requests]
        finally:
            self._in_flight -= 1

    def count_tokens(self, text: str) -> int:
        """Words in `text`."""
        return len(_WORDS.findall(text))

    async def close(self) -> None:
        """Note that it is closed."""
        self.is_open = False

    def _reply(self, request: Request) -> Response:
        reply = self._queue.popleft() if self._queue else self._scripted(request)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Response):
            return reply
        usage = Usage(
            input_tokens=self._prompt_tokens(request), output_tokens=self.count_tokens(reply)
        )
        return Response(text=reply, finish_reason="stop", usage=usage)

    def _scripted(self, request: Request) -> Reply:
        if request.kind == "generate":
            return self._answer(request)
        if self._scores is not None:
            return self._scores(request)
        tokens = self._prompt_tokens(request) + self.count_tokens(request.continuation)
        logprob = hashed_logprob(request, self.seed)
        greedy = logprob > -1 if request.kind == "loglikelihood" else None
        return Response(logprob=logprob, greedy=greedy, usage=Usage(input_tokens=tokens))

    def _prompt_tokens(self, request: Request) -> int:
        if isinstance(request.prompt, str):
            return self.count_tokens(request.prompt)
        return sum(self.count_tokens(message.content) for message in request.prompt)


def echo(request: Request) -> str:
    """The last message, or the prompt."""
    return request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content


def hashed_logprob(request: Request, seed: int = 0) -> float:
    """A log-likelihood between -10 and 0 that depends on prompt, continuation and seed alone."""
    return -10 * _fraction(request, seed)


def _fraction(request: Request, seed: int) -> float:
    """A number in [0, 1) that depends on what is asked, not on when or how."""
    asked = (request.kind, request.prompt, request.continuation, request.repeat, seed)
    return int(content_hash(*asked)[:13], 16) / 16**13


def _random_letter(params: ScriptedParams) -> Answer:
    return lambda request: _LETTERS[int(_fraction(request, params.seed) * len(_LETTERS))]


def _fixed(params: ScriptedParams) -> Answer:
    return lambda request: params.text


def _first_choice(params: ScriptedParams) -> Answer:
    return lambda request: _LETTERS[0]


def _echo(params: ScriptedParams) -> Answer:
    return echo


#: The scripts that a spec can name.
SCRIPTS: dict[str, Callable[[ScriptedParams], Answer]] = {
    "echo": _echo,
    "first-choice": _first_choice,
    "fixed": _fixed,
    "random": _random_letter,
}


def _capabilities(params: ScriptedParams) -> Capabilities:
    return Capabilities(
        chat=params.chat,
        text=params.raw_text,
        loglikelihood=params.loglikelihood,
        tools=params.tools,
        context_length=params.context_length,
    )
