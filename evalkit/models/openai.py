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
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import InputError, ModelError, RequestError, TransientError, UnreachableError
from evalkit.models.http_errors import error_for, hide_secrets, rate_headers
from evalkit.models.parameters import estimate_tokens, identity_of, json_object, read_key
from evalkit.models.prices import price_of
from evalkit.models.protocol import Capabilities
from evalkit.models.wire import chat_messages, chat_response, tool_definitions
from evalkit.records import Message, Record, Request, Response

if TYPE_CHECKING:
    import openai

Json = dict[str, Any]

_REASONS = re.compile(r"^(o\d|gpt-([5-9]|\d\d)(?!.*-chat)|codex)")
_MOST_STOPS = 4
_OPEN_TIMEOUT_S = 5.0


class OpenAIParams(Record, frozen=True, kw_only=True):
    """Parameters of `openai/`; sampling ones override what a task asks for.

    Args:
        base_url: Another address of the same API.
        organization: OpenAI's organization id.
        project: OpenAI's project id.
        api_key_env: The variable with the key.
        concurrency: Requests in flight.
        timeout_s: How long one answer may take.
        reasoning: Whether the model reasons; None reads it from the name.
        reasoning_effort: How much; `none` also lets temperature and top_p through.
        max_tokens: Overrides a task's (of a reasoning model: reasoning included).
        temperature: Overrides a task's.
        top_p: Overrides a task's.
        seed: Overrides a task's.
        logprobs: Keep the log-probability of each answer as a whole.
        service_tier: OpenAI's service tier.
        context_length: Where it is not known to evalkit.
        extra_body: A JSON object whose fields are added to every request.
    """

    base_url: str = ""
    organization: str = ""
    project: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 32
    timeout_s: float = 600.0
    reasoning: bool | None = None
    reasoning_effort: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    logprobs: bool = False
    service_tier: str = ""
    context_length: int | None = None
    extra_body: str | dict[str, Any] = ""


_NOT_IDENTITY = ("api_key_env", "concurrency", "timeout_s", "organization", "project", "base_url")


def create(spec: ModelSpec) -> OpenAIModel:
    """The model that `spec` names; nothing is contacted yet.

    Raises:
        InputError: A parameter is wrong.
    """
    return OpenAIModel(spec, read_params(spec, OpenAIParams))


class OpenAIModel:
    """One of OpenAI's models; see the module's text."""

    batch = 1

    def __init__(self, spec: ModelSpec, params: OpenAIParams) -> None:
        self.name, self.provider = spec.label, spec.provider
        self.concurrency, self.deadline_s = params.concurrency, params.timeout_s
        self.rate_headers: dict[str, str] = {}
        self._spec, self._params, self._model = spec, params, spec.name
        self._extra = json_object(params.extra_body, spec.label, "extra_body")
        named = bool(_REASONS.match(spec.name))
        self._reasons = named if params.reasoning is None else params.reasoning
        self._samples = not self._reasons or params.reasoning_effort == "none"
        self._client: openai.AsyncOpenAI | None = None
        self._key = ""
        self.identity = identity_of(spec, params, base_url=params.base_url, leave_out=_NOT_IDENTITY)
        if not self._samples:
            self.identity["not_sent"] = "temperature, top_p, stop"

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        price = price_of("openai", self._model)
        return Capabilities(
            chat=True,
            text=False,
            loglikelihood=False,
            tools=True,
            system=True,
            context_length=self._params.context_length or (price.context_length if price else None),
            max_output_tokens=price.max_output_tokens if price else None,
        )

    async def open(self) -> None:
        """Find the key and, at another address than OpenAI's, whether a server answers.

        Raises:
            MissingKeyError: The key's variable is not set.
            UnreachableError: Nothing answers at `base_url`.
            InputError: The server there refuses the key.
        """
        self._key = read_key(self._params.api_key_env, self.name)
        self._client = _client(self._params, self._key)
        if not self._params.base_url:
            return
        try:
            await self._reach(self._client)
        except BaseException:  # whoever cannot open a model will not close it either
            await self.close()
            raise

    async def _reach(self, client: openai.AsyncOpenAI) -> None:
        import openai

        try:
            await client.with_options(timeout=_OPEN_TIMEOUT_S).models.with_raw_response.list()
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise InputError(
                f"The server at {self._params.base_url} refuses the key in "
                f"{self._params.api_key_env}: {self._model_error(error)}"
            ) from None
        except openai.APIStatusError:
            return  # something answers there; it need not list models
        except openai.APIConnectionError as error:
            why = hide_secrets(str(error.__cause__ or error), [self._key])
            raise UnreachableError(
                f"No server answers at {self._params.base_url} ({why}). "
                "Start it, or correct base_url."
            ) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def count_tokens(self, text: str) -> int:
        """About how many tokens `text` has: the tokenizer is not at hand offline."""
        return estimate_tokens(text)

    async def ask(self, requests: Sequence[Request]) -> Sequence[Response]:
        """Answer the requests, one after the other.

        Raises:
            ModelError: The attempt failed.
        """
        return [await self._answer(request) for request in requests]

    async def _answer(self, request: Request) -> Response:
        if request.kind != "generate":
            raise RequestError(f"{self.name} gives no log-likelihoods of given texts")
        sent, stops = self._body(request)
        started = time.perf_counter()
        content = await self._post(sent)
        latency = time.perf_counter() - started
        return chat_response(content, stops=stops, latency_s=latency)

    async def _post(self, body: Json) -> bytes:
        import openai

        if self._client is None:
            raise RuntimeError(f"{self.name} was asked before it was opened")
        try:
            # the extra fields may be any: the SDK checks the typed ones against its own types
            raw = await self._client.chat.completions.with_raw_response.create(
                model=self._model, messages=body.pop("messages"), extra_body=body
            )
        except openai.APIError as error:
            raise self._model_error(error) from None
        self._remember(raw.headers)
        content: bytes = raw.http_response.content
        return content

    def _remember(self, headers: Any) -> None:
        if limits := rate_headers(headers):
            self.rate_headers = limits

    def _model_error(self, error: openai.APIError) -> ModelError:
        import openai

        if isinstance(error, openai.APIStatusError):
            answer = error.response
            self._remember(answer.headers)
            return error_for(
                answer.status_code,
                answer.headers,
                answer.content,
                model=self.name,
                secrets=[self._key],
            )
        if isinstance(error, openai.APITimeoutError):
            return TransientError(f"{self.name} did not answer within {self._params.timeout_s:g} s")
        why = hide_secrets(str(error.__cause__ or error), [self._key])
        return TransientError(f"The connection to {self.name} failed: {why}")

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


def _client(params: OpenAIParams, key: str) -> openai.AsyncOpenAI:
    import openai

    return openai.AsyncOpenAI(
        api_key=key,
        base_url=params.base_url or None,
        organization=params.organization or None,
        project=params.project or None,
        max_retries=0,
        timeout=params.timeout_s,
        http_client=_transport(params.timeout_s),
    )


def _transport(timeout_s: float) -> Any:
    """The SDK's aiohttp transport, about a third of the default one's CPU, where it is there."""
    import openai

    try:
        return openai.DefaultAioHttpClient(timeout=timeout_s)
    except RuntimeError:  # an SDK without the transport's package says so this way
        return None
