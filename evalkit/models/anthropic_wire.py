"""Anthropic's Messages API on the wire, to and from records.

Reference: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from evalkit.errors import RequestError, TransientError
from evalkit.models.wire import CUT_HERE, cut_at
from evalkit.records import Message, Response, Status, Tool, ToolCall, Usage

Json = dict[str, Any]

_STATUSES: dict[str, Status] = {
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "refusal": "refused",
}


class Block(msgspec.Struct):
    """One block of an answer: text, thinking, or a call of a tool."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class OutputDetails(msgspec.Struct):
    """What the output's tokens were."""

    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Token counts; unlike OpenAI's, `input_tokens` leaves out what came through the cache."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Answer(msgspec.Struct):
    """The body of an answer."""

    content: list[Block]
    model: str = ""
    stop_reason: str | None = None
    usage: WireUsage | None = None


_decoder = msgspec.json.Decoder(Answer)


def split_system(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """The system text, which Anthropic takes apart from the conversation, and the rest."""
    system = "\n\n".join(m.content for m in messages if m.role == "system" and m.content)
    return system, [message for message in messages if message.role != "system"]


def turns(messages: Sequence[Message]) -> list[Json]:
    """The conversation as alternating turns of content blocks.

    Neighbours of one role become one turn. The last turn's trailing white space goes if it is
    the assistant's, for the API refuses it.

    Raises:
        RequestError: There is nothing to answer, or a tool call's arguments are no JSON object.
    """
    merged: list[Json] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        elif blocks:
            merged.append({"role": role, "content": blocks})
    if merged and merged[-1]["role"] == "assistant":
        _strip_end(merged)
    if not merged:
        raise RequestError("There is no user message to answer")
    return merged


def _strip_end(merged: list[Json]) -> None:
    last = merged[-1]["content"][-1]
    if last["type"] != "text":
        return
    last["text"] = last["text"].rstrip()
    if not last["text"]:
        merged[-1]["content"].pop()
    if not merged[-1]["content"]:
        merged.pop()


def _blocks(message: Message) -> list[Json]:
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        return [result | {"content": message.content}]
    blocks: list[Json] = []
    if message.content.strip():
        blocks.append({"type": "text", "text": message.content})
    for call in message.tool_calls:
        use = {"type": "tool_use", "id": call.id, "name": call.name}
        blocks.append(use | {"input": _arguments(call)})
    return blocks


def _arguments(call: ToolCall) -> Json:
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RequestError(
            f"The arguments of an earlier call of {call.name!r} are no JSON object: {error}"
        ) from None


def tool_definitions(tools: Sequence[Tool]) -> list[Json]:
    """The tools as the API writes them."""
    return [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": tool.parameters or {"type": "object", "properties": {}},
        }
        for tool in tools
    ]


def response(body: bytes, *, stops: Sequence[str] = (), latency_s: float = 0.0) -> Response:
    """The response that an answer's body holds.

    Args:
        body: The body as it arrived.
        stops: Stop sequences to cut at on this side; the finish reason says where one did.
        latency_s: How long the answer took.

    Raises:
        TransientError: The body is malformed.
    """
    try:
        answer = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TransientError(f"The answer's body is malformed: {error}") from None
    text, was_cut = cut_at("".join(b.text for b in answer.content if b.type == "text"), stops)
    reason = answer.stop_reason or ""
    return Response(
        status="ok" if was_cut else _STATUSES.get(reason, "ok"),
        text=text,
        reasoning="".join(block.thinking for block in answer.content),
        tool_calls=tuple(
            ToolCall(name=block.name, arguments=bytes(block.input).decode(), id=block.id)
            for block in answer.content
            if block.type == "tool_use"
        ),
        finish_reason=CUT_HERE if was_cut else reason,
        served_model=answer.model,
        usage=_usage(answer.usage or WireUsage()),
        latency_s=latency_s,
    )


def _usage(usage: WireUsage) -> Usage:
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details or OutputDetails()
    return Usage(
        input_tokens=(usage.input_tokens or 0) + read + written,
        output_tokens=usage.output_tokens or 0,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=details.thinking_tokens or 0,
    )
