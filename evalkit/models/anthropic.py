"""Anthropic's models through Anthropic's own SDK: `anthropic/claude-haiku-4-5?max_tokens=4096`.

- `max_tokens` is mandatory there: without a limit a request gets the model's longest answer
  (`prices.yaml`), and one to a model that evalkit does not know is refused.
- Stop sequences of white space alone are refused by the API; the text is cut at them after it
  arrived, and the finish reason then says that evalkit cut it.
- Models from 4.7 on refuse temperature, top_p and top_k, and so does a thinking model; they
  are not sent, and `identity` says so. Models from 4.6 on continue no assistant turn; such a
  request is refused before it is sent.
- A long prefix (system, or all turns before the last) that comes a second time is marked for
  Anthropic's cache: the first request pays nothing for a prefix that nobody shares.

References: https://docs.anthropic.com/en/api/messages and
https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from evalkit.config.model_spec import ModelSpec, read_params
from evalkit.errors import InputError, RequestError, TransientError
from evalkit.models import anthropic_wire as wire
from evalkit.models.anthropic_cache import PrefixMemory
from evalkit.models.http_errors import hide_secrets, is_transport_error
from evalkit.models.sdk import Json, SdkModel, SdkParams
from evalkit.records import Message, Request, Response, canonical

if TYPE_CHECKING:
    import anthropic

#: The SDK wants longer answers streamed, for a silent connection may be cut after minutes.
_STREAM_ABOVE = 16_000
_VERSION = re.compile(r"^claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2}))?(?=-|$)")
_STREAMED_ERRORS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
_SAMPLING_NAMES = ("temperature", "top_p", "top_k")


class AnthropicParams(SdkParams, frozen=True, kw_only=True):
    """Parameters of `anthropic/`, besides `SdkParams`; sampling ones override a task's.

    `base_url` goes without `/v1`.

    Args:
        max_tokens: Overrides a task's.
        temperature: Overrides a task's.
        top_p: Overrides a task's, and its temperature with it: newer models refuse both at once.
        top_k: Overrides a task's.
        thinking: `adaptive`, `off`, or a number of tokens, which `max_tokens` is raised by.
        effort: How much effort the model puts in, where it knows that.
        cache: `auto` marks prefixes that come again, `off` none.
    """

    api_key_env: str = "ANTHROPIC_API_KEY"
    concurrency: int = 16
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: str = ""
    effort: str = ""
    cache: Literal["auto", "off"] = "auto"


def create(spec: ModelSpec) -> AnthropicModel:
    """The model that `spec` names; nothing is contacted yet.

    Raises:
        InputError: A parameter is wrong.
    """
    return AnthropicModel(spec, read_params(spec, AnthropicParams))


def version_of(model: str) -> tuple[int, int] | None:
    """The version that a name tells: (4, 5) of `claude-opus-4-5-20251101`; None without one."""
    found = _VERSION.match(model)
    return (int(found.group(1)), int(found.group(2) or 0)) if found else None


class AnthropicModel(SdkModel):
    """One of Anthropic's models; see the module's text."""

    vendor = "anthropic"
    not_identity = (*SdkModel.not_identity, "cache")

    _params: AnthropicParams

    def __init__(self, spec: ModelSpec, params: AnthropicParams) -> None:
        super().__init__(spec, params)
        self._thinking = read_thinking(params.thinking, spec.label)
        self._version = version_of(spec.name)
        minimum = (self._price.min_cache_tokens if self._price else None) or 1024
        self._prefixes = PrefixMemory(minimum) if params.cache == "auto" else None
        if not self._samples:
            self.identity["not_sent"] = ", ".join(_SAMPLING_NAMES)

    @property
    def _samples(self) -> bool:
        thinks = self._thinking is not None and self._thinking["type"] != "disabled"
        return not thinks and (self._version is None or self._version < (4, 7))

    async def _answer(self, request: Request) -> Response:
        if request.kind != "generate":
            raise RequestError(f"{self.name} gives no log-likelihoods")
        content, latency = await self._post(self._body(request))
        blank = [stop for stop in request.sampling.stop if not stop.strip()]
        return wire.response(content, stops=blank, latency_s=latency)

    # sending

    def _connect(self) -> anthropic.AsyncAnthropic:
        import anthropic

        return anthropic.AsyncAnthropic(**self._connection())

    async def _send(self, client: anthropic.AsyncAnthropic, body: Json) -> bytes:
        if body["max_tokens"] > _STREAM_ABOVE:
            return await self._streamed(client, body)
        return self._content(await client.messages.with_raw_response.create(**_arguments(body)))

    async def _streamed(self, client: anthropic.AsyncAnthropic, body: Json) -> bytes:
        try:
            async with client.messages.stream(**_arguments(body)) as stream:
                self._remember(stream.response.headers)
                message = await stream.get_final_message()
        except (ValueError, AssertionError) as error:  # the SDK's words for a garbled stream
            raise TransientError(f"The stream of {self.name} is malformed: {error}") from None
        except Exception as error:
            # the SDK lets its transport's own errors through once a stream has begun
            if not is_transport_error(error):
                raise
            why = hide_secrets(str(error) or type(error).__name__, [self._key])
            raise TransientError(f"The stream of {self.name} broke off: {why}") from None
        if message.stop_reason is None:
            raise TransientError(f"The stream of {self.name} ended before its answer did")
        return message.to_json(indent=None).encode()

    def _refusal(self, error: anthropic.APIStatusError) -> tuple[int, bytes | str]:
        return _status(error), error.body if isinstance(error.body, str) else canonical(error.body)

    # what to send

    def _body(self, request: Request) -> Json:
        prompt = request.prompt
        given = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
        system, rest = wire.split_system(given)
        messages = wire.turns(rest)
        self._check_prefill(messages)
        body: Json = {"model": self._model, "messages": messages} | self._sampling(request)
        if system:
            body["system"] = [{"type": "text", "text": system}]
        if request.tools:
            body["tools"] = wire.tool_definitions(request.tools)
        if self._prefixes is not None:
            self._prefixes.mark(body)
        return body | self._extra

    def _check_prefill(self, messages: Sequence[Json]) -> None:
        if messages[-1]["role"] != "assistant":
            return
        if self._version is not None and self._version >= (4, 6):
            raise RequestError(f"{self.name} continues no assistant turn: end with a user turn")
        if self._thinking is not None and self._thinking["type"] != "disabled":
            raise RequestError(f"{self.name} continues no assistant turn while it thinks")

    def _sampling(self, request: Request) -> Json:
        sampling, params = request.sampling, self._params
        stops = [stop for stop in sampling.stop if stop.strip()]
        body: Json = {"max_tokens": self._max_tokens(request)}
        if stops:
            body["stop_sequences"] = stops
        if self._thinking is not None:
            body["thinking"] = self._thinking
        if params.effort:
            body["output_config"] = {"effort": params.effort}
        if self._samples:
            body |= self._drawing(request)
        return body

    def _drawing(self, request: Request) -> Json:
        params = self._params
        values: Json = {}
        for name in _SAMPLING_NAMES:
            fixed = getattr(params, name)
            values[name] = getattr(request.sampling, name) if fixed is None else fixed
        if params.top_p is not None and params.temperature is None:
            values["temperature"] = None
        return {name: value for name, value in values.items() if value is not None}

    def _max_tokens(self, request: Request) -> int:
        fixed = self._params.max_tokens
        limit = request.sampling.max_tokens if fixed is None else fixed
        longest = self._price.max_output_tokens if self._price else None
        if limit is None:
            limit = longest
        if limit is None:
            raise RequestError(
                f"{self.name}: how long its answers may be is not known; say max_tokens=N"
            )
        budget: int = (self._thinking or {}).get("budget_tokens", 0)
        return min(limit + budget, longest) if longest else limit + budget


def read_thinking(text: str, label: str) -> Json | None:
    """The API's `thinking` for `adaptive`, `off`, a number of tokens, or nothing.

    Raises:
        InputError: It is none of these.
    """
    if not text:
        return None
    if text == "off":
        return {"type": "disabled"}
    if text == "adaptive":
        return {"type": "adaptive"}
    if text.isdecimal() and int(text) >= 1024:
        return {"type": "enabled", "budget_tokens": int(text)}
    raise InputError(
        f"Model {label!r}: thinking must be adaptive, off, or at least 1024 tokens, not {text!r}"
    )


def _arguments(body: Json) -> Json:
    """The SDK's arguments: what it insists on, and the rest as it is (its types lag behind)."""
    required = {name: body[name] for name in ("model", "messages", "max_tokens")}
    return required | {"extra_body": {k: v for k, v in body.items() if k not in required}}


def _status(error: anthropic.APIStatusError) -> int:
    """The HTTP status; of an error that came inside a stream, the one that it stands for."""
    body = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    kind = inner.get("type", "") if isinstance(inner, dict) else ""
    return error.status_code if error.status_code >= 400 else _STREAMED_ERRORS.get(kind, 500)
