"""OpenAI's models through OpenAI's own SDK: `openai/gpt-4o?temperature=0`.

Reasoning models (o1, o3, o4, gpt-5 and later) are asked in their own way: system messages
go as `developer`, the limit as `max_completion_tokens`, and what they refuse (temperature,
top_p, stop) is not sent; `identity` says so. The API takes four stop sequences: the text
is cut at further ones, and at all of them where a model refuses `stop`, after it arrived,
and the finish reason then says that evalkit cut it.

Raw text goes as one user message: these models have no other interface. A conversation that
ends with the assistant is sent as it is; the API answers it with a new turn.

References: https://platform.openai.com/docs/api-reference/chat and
https://platform.openai.com/docs/guides/reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import ModelError, RequestError
from evalkit.models.draws import Draws
from evalkit.models.grouping import ask_in_groups
from evalkit.models.sdk import Json, SdkModel, SdkParams
from evalkit.models.wire import chat_messages, chat_responses, tool_definitions
from evalkit.records import Message, Request, Response

if TYPE_CHECKING:
    import openai

_REASONS = re.compile(r"^(o\d|gpt-([5-9]|\d\d)(?!.*-chat)|codex)")
_MOST_STOPS = 4


class OpenAIParams(SdkParams, frozen=True, kw_only=True):
    """Parameters of `openai/`, besides `SdkParams`; sampling ones override what a task asks for.

    Args:
        organization: OpenAI's organization id.
        project: OpenAI's project id.
        reasoning: Whether the model reasons; None reads it from the name.
        reasoning_effort: How much; `none` also lets temperature and top_p through.
        max_tokens: Overrides a task's (of a reasoning model: reasoning included).
        temperature: Overrides a task's.
        top_p: Overrides a task's.
        seed: Overrides a task's.
        logprobs: Keep the log-probability of each answer as a whole.
        service_tier: OpenAI's service tier.
    """

    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 32
    organization: str = ""
    project: str = ""
    reasoning: bool | None = None
    reasoning_effort: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    logprobs: bool = False
    service_tier: str = ""


def create(spec: ModelSpec) -> OpenAIModel:
    """The model that `spec` names; nothing is contacted yet.

    Raises:
        InputError: A parameter is wrong.
    """
    return OpenAIModel(spec, read_params(spec, OpenAIParams))


class OpenAIModel(SdkModel):
    """One of OpenAI's models; see the module's text."""

    vendor = "openai"
    not_identity = (*SdkModel.not_identity, "organization", "project")

    _params: OpenAIParams

    def __init__(self, spec: ModelSpec, params: OpenAIParams) -> None:
        super().__init__(spec, params)
        named = bool(_REASONS.match(spec.name))
        self._reasons = named if params.reasoning is None else params.reasoning
        self._samples = not self._reasons or params.reasoning_effort == "none"
        self._draws = Draws(self._extra)
        if not self._samples:
            self.identity["not_sent"] = "temperature, top_p, stop"

    def _connect(self) -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(
            **self._connection(),
            organization=self._params.organization or None,
            project=self._params.project or None,
        )

    def together(self, request: Request) -> Hashable | None:
        """Draws of one answer belong together."""
        if request.kind != "generate":
            return None
        params, sampling = self._params, request.sampling
        # what is not sent is drawn as the API draws by itself
        temperature = _first(params.temperature, sampling.temperature) if self._samples else None
        seed = _first(params.seed, sampling.seed)
        return self._draws.key(request, temperature=temperature, seed=seed)

    async def ask(self, requests: Sequence[Request]) -> Sequence[Response | ModelError]:
        """Answer the requests, those that belong together by one request.

        Raises:
            ModelError: The attempt failed.
        """
        return await ask_in_groups(requests, self.together, self._draw)

    async def _draw(self, requests: Sequence[Request]) -> Sequence[Response | ModelError]:
        return await self._draws.ask(requests, self._answers)

    async def _answer(self, request: Request) -> Response:
        [answer, *_] = await self._answers(request, 1)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    async def _answers(self, request: Request, number: int) -> Sequence[Response | ModelError]:
        if request.kind != "generate":
            raise RequestError(f"{self.name} gives no log-likelihoods of given texts")
        sent, stops = self._body(request)
        if number > 1:
            sent["n"] = number
        content, latency = await self._post(sent)
        return chat_responses(content, stops=stops, latency_s=latency)

    async def _send(self, client: openai.AsyncOpenAI, body: Json) -> bytes:
        # the extra fields may be any: the SDK checks the typed ones against its own types
        raw = await client.chat.completions.with_raw_response.create(
            model=self._model, messages=body.pop("messages"), extra_body=body
        )
        return self._content(raw)

    def _refusal(self, error: openai.APIStatusError) -> tuple[int, bytes]:
        return error.response.status_code, error.response.content

    def _body(self, request: Request) -> tuple[Json, tuple[str, ...]]:
        """What to send, and the stop sequences to cut at when the answer is here."""
        prompt = request.prompt
        messages = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
        role = "developer" if self._reasons else "system"
        body: Json = {"messages": chat_messages(messages, role)} | self._sampling(request)
        stops = request.sampling.stop
        if stops and self._samples and not self._reasons:
            body["stop"] = list(stops[:_MOST_STOPS])
        if request.tools:
            body["tools"] = tool_definitions(request.tools)
        return body | self._extra, stops

    def _sampling(self, request: Request) -> Json:
        params, sampling = self._params, request.sampling
        limit = "max_completion_tokens" if self._reasons else "max_tokens"
        asked: Json = {
            limit: _first(params.max_tokens, sampling.max_tokens),
            "seed": _first(params.seed, sampling.seed),
            "reasoning_effort": params.reasoning_effort or None,
            "service_tier": params.service_tier or None,
        }
        if self._samples:
            asked["temperature"] = _first(params.temperature, sampling.temperature)
            asked["top_p"] = _first(params.top_p, sampling.top_p)
            asked["logprobs"] = params.logprobs or None
        return {name: value for name, value in asked.items() if value is not None}


def _first(fixed: Any, asked: Any) -> Any:
    return asked if fixed is None else fixed
