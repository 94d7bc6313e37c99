"""OpenAI's chat and text completions on the wire, to and from records.

Many servers speak this protocol, each a little differently; what they may leave out is
optional here. Reference: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from evalkit.errors import TransientError
from evalkit.records import Message, Response, Status, Tool, ToolCall, Usage

Json = dict[str, Any]


class PromptDetails(msgspec.Struct):
    """What the input's tokens were."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    """What the output's tokens were."""

    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class WireFunction(msgspec.Struct):
    """The function of a tool call; some servers send the arguments as an object."""

    name: str = ""
    arguments: str | Json | None = None


class WireToolCall(msgspec.Struct):
    """A tool call."""

    id: str | None = None
    function: WireFunction = msgspec.field(default_factory=WireFunction)


class WireMessage(msgspec.Struct):
    """An answer; servers name the reasoning `reasoning_content` or `reasoning`."""

    content: str | list[Json] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[WireToolCall] | None = None


class TokenLogprob(msgspec.Struct):
    """One token of a chat answer with its log-probability."""

    token: str = ""
    logprob: float | None = None


class ChatLogprobs(msgspec.Struct):
    """The log-probabilities of a chat answer."""

    content: list[TokenLogprob] | None = None


class ChatChoice(msgspec.Struct):
    """One answer of a chat completion."""

    message: WireMessage
    index: int = 0
    finish_reason: str | None = None
    logprobs: ChatLogprobs | None = None


class ChatCompletion(msgspec.Struct):
    """The body of a chat completion."""

    choices: list[ChatChoice] | None = None
    model: str | None = None
    usage: WireUsage | None = None


class TextLogprobs(msgspec.Struct):
    """OpenAI's legacy log-probabilities: parallel lists over the tokens."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class PromptToken(msgspec.Struct):
    """vLLM's word on one token at one place of the prompt."""

    logprob: float
    rank: int | None = None


class TextChoice(msgspec.Struct):
    """One answer of a text completion; `logprobs` is decoded where it is asked for."""

    index: int = 0
    text: str = ""
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")
    prompt_logprobs: list[dict[str, PromptToken] | None] | None = None


class TextCompletion(msgspec.Struct):
    """The body of a text completion."""

    choices: list[TextChoice] | None = None
    model: str | None = None
    usage: WireUsage | None = None


Body = TypeVar("Body")
_decoders: dict[type, Any] = {
    kind: msgspec.json.Decoder(kind) for kind in (ChatCompletion, TextCompletion, TextLogprobs)
}


def decode(body: bytes | msgspec.Raw, kind: type[Body]) -> Body:
    """`body` as `kind`.

    Raises:
        TransientError: It is not what the protocol says: cut off, or not JSON at all.
    """
    try:
        decoded: Body = _decoders[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TransientError(f"The answer's body is malformed: {error}") from None
    return decoded


def chat_messages(messages: Sequence[Message], system_role: str = "system") -> list[Json]:
    """The messages as the protocol writes them."""
    return [_message(message, system_role) for message in messages]


def _message(message: Message, system_role: str) -> Json:
    if message.role == "tool":
        return {
            "role": "tool",
            "content": message.content,
            "tool_call_id": message.tool_call_id,
        }
    role = system_role if message.role == "system" else message.role
    if not message.tool_calls:
        return {"role": role, "content": message.content}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in message.tool_calls
    ]
    return {"role": role, "content": message.content or None, "tool_calls": calls}


def tool_definitions(tools: Sequence[Tool]) -> list[Json]:
    """The tools as the protocol writes them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def cut_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first of the stop sequences, and whether one was found."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def chat_response(body: bytes, *, stops: Sequence[str] = (), latency_s: float = 0.0) -> Response:
    """The response that the body of a chat completion holds.

    Args:
        body: The body as it arrived.
        stops: Stop sequences to cut at on this side; the finish reason says where one did.
        latency_s: How long the answer took.

    Raises:
        TransientError: The body is malformed, or holds no answer.
    """
    return _first(chat_responses(body, stops=stops, latency_s=latency_s))


def chat_responses(
    body: bytes, *, stops: Sequence[str] = (), latency_s: float = 0.0
) -> list[Response | TransientError]:
    """A response, or why it has none, for each choice of a chat completion.

    The usage, which a provider tells for all choices together, is split so that sums are
    right: see `split_usage`.

    Raises:
        TransientError: The body is malformed, or holds no answer.
    """
    completion = decode(body, ChatCompletion)
    if not completion.choices:
        raise TransientError("The answer holds no choices")
    choices = sorted(completion.choices, key=lambda choice: choice.index)
    lengths = [_length(choice.message) for choice in choices]
    usages = split_usage(usage_of(completion.usage), lengths)
    return [
        _chat_choice(choice, completion.model or "", usage, stops, latency_s)
        for choice, usage in zip(choices, usages, strict=True)
    ]


def _first(responses: Sequence[Response | TransientError]) -> Response:
    """The first of what was to be one; a server that gave more is paid for all."""
    first, *others = responses
    if isinstance(first, TransientError):
        raise first
    used = [one.usage for one in others if isinstance(one, Response)]
    return msgspec.structs.replace(first, usage=sum(used, first.usage)) if used else first


def split_usage(whole: Usage, lengths: Sequence[int]) -> list[Usage]:
    """The usage of a request with several choices as one usage a choice.

    The input was read once: it stands with the first choice. The output is shared out by how
    long the choices are (`lengths`, in characters), in whole tokens that add up to `whole`.
    """
    weights = [length + 1 for length in lengths]
    output = _shares(whole.output_tokens, weights)
    reasoning = _shares(whole.reasoning_tokens, weights)
    usages = [
        Usage(output_tokens=some, reasoning_tokens=thought)
        for some, thought in zip(output, reasoning, strict=True)
    ]
    usages[0] = msgspec.structs.replace(
        whole, output_tokens=output[0], reasoning_tokens=reasoning[0]
    )
    return usages


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts, about as the weights are to each other."""
    ends = [total * end // sum(weights) for end in itertools.accumulate(weights)]
    return [end - start for start, end in itertools.pairwise([0, *ends])]


def _length(message: WireMessage) -> int:
    thought = message.reasoning_content or message.reasoning or ""
    return len(_text(message)) + len(thought)


def _chat_choice(
    choice: ChatChoice, model: str, usage: Usage, stops: Sequence[str], latency_s: float
) -> Response | TransientError:
    if (broken := _broken_off(choice)) is not None:
        return broken
    text, was_cut = cut_at(_text(choice.message), stops)
    reason = choice.finish_reason or ""
    return Response(
        status="ok" if was_cut else status_of(reason, choice.message.refusal),
        text=text,
        reasoning=choice.message.reasoning_content or choice.message.reasoning or "",
        tool_calls=_tool_calls(choice.message),
        logprob=_answer_logprob(choice.logprobs),
        finish_reason=CUT_HERE if was_cut else reason,
        served_model=model,
        usage=usage,
        latency_s=latency_s,
    )


def _broken_off(choice: ChatChoice | TextChoice) -> TransientError | None:
    if choice.finish_reason in _BROKEN_OFF:
        return TransientError(f"The answer broke off: finish_reason {choice.finish_reason!r}")
    return None


#: Finish reasons of servers that gave up midway (vLLM, routers in front of it).
_BROKEN_OFF = ("abort", "error")

#: The finish reason of an answer that was cut at a stop sequence after it arrived.
CUT_HERE = "stop (cut by evalkit)"


def _text(message: WireMessage) -> str:
    if isinstance(message.content, list):
        return "".join(str(part.get("text", "")) for part in message.content)
    return message.content or message.refusal or ""


def status_of(finish_reason: str, refusal: str | None = None) -> Status:
    """The status that a finish reason stands for."""
    if refusal:
        return "refused"
    if finish_reason == "length":
        return "truncated"
    return "filtered" if finish_reason == "content_filter" else "ok"


def _tool_calls(message: WireMessage) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(
            name=call.function.name,
            arguments=_arguments(call.function.arguments),
            id=call.id or "",
        )
        for call in message.tool_calls or ()
    )


def _arguments(arguments: str | Json | None) -> str:
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments or {}).decode()


def _answer_logprob(logprobs: ChatLogprobs | None) -> float | None:
    if logprobs is None or not logprobs.content:
        return None
    return sum(token.logprob or 0.0 for token in logprobs.content)


def usage_of(usage: WireUsage | None) -> Usage:
    """The token counts; OpenAI counts cached tokens as part of the input, as we do."""
    if usage is None:
        return Usage()
    prompt = usage.prompt_tokens_details or PromptDetails()
    output = usage.completion_tokens_details or OutputDetails()
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=prompt.cached_tokens or 0,
        cache_write_tokens=prompt.cache_write_tokens or 0,
        reasoning_tokens=output.reasoning_tokens or 0,
    )


def text_response(body: bytes, *, stops: Sequence[str] = (), latency_s: float = 0.0) -> Response:
    """The response that the body of a text completion holds; see `chat_response`."""
    return _first(text_responses(body, stops=stops, latency_s=latency_s))


def text_responses(
    body: bytes, *, stops: Sequence[str] = (), latency_s: float = 0.0
) -> list[Response | TransientError]:
    """A response for each choice of a text completion; see `chat_responses`."""
    completion = decode(body, TextCompletion)
    if not completion.choices:
        raise TransientError("The answer holds no choices")
    choices = sorted(completion.choices, key=lambda choice: choice.index)
    usages = split_usage(usage_of(completion.usage), [len(choice.text) for choice in choices])
    return [
        _text_choice(choice, completion.model or "", usage, stops, latency_s)
        for choice, usage in zip(choices, usages, strict=True)
    ]


def _text_choice(
    choice: TextChoice, model: str, usage: Usage, stops: Sequence[str], latency_s: float
) -> Response | TransientError:
    if (broken := _broken_off(choice)) is not None:
        return broken
    text, was_cut = cut_at(choice.text, stops)
    reason = choice.finish_reason or ""
    return Response(
        status="ok" if was_cut else status_of(reason),
        text=text,
        finish_reason=CUT_HERE if was_cut else reason,
        served_model=model,
        usage=usage,
        latency_s=latency_s,
    )
