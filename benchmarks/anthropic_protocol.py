"""The local server's side of Anthropic's Messages API, plain and streamed.

Reference: https://docs.anthropic.com/en/api/messages and /messages-streaming.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.answers import Answer, Ask
from benchmarks.openai_protocol import BadRequest, Json, cut
from benchmarks.toy_language import Tokenizer


def read_message(path: str, body: Json) -> Ask:
    """The request as a script sees it, refused where Anthropic refuses it."""
    if not isinstance(body.get("max_tokens"), int):
        raise BadRequest("max_tokens: Field required")
    if any(not stop.strip() for stop in body.get("stop_sequences") or ()):
        raise BadRequest("stop_sequences: each stop sequence must contain non-whitespace")
    roles = [message["role"] for message in body.get("messages", ())]
    if not roles or not set(roles) <= {"user", "assistant"}:
        raise BadRequest("messages: roles must be user or assistant, and there must be one")
    turns = [_plain(message["content"]) for message in body["messages"]]
    if roles[-1] == "assistant" and turns[-1] != turns[-1].rstrip():
        raise BadRequest("messages: final assistant content cannot end with trailing whitespace")
    system = _plain(body.get("system") or "")
    return Ask(path=path, body=body, prompt="\n".join([system, *turns]), last=turns[-1])


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    for block in content:
        if block["type"] == "text" and not block["text"]:
            raise BadRequest("messages: text content blocks must be non-empty")
    return "".join(str(block.get("text", block.get("content", ""))) for block in content)


def message(ask: Ask, answer: Answer, tokenizer: Tokenizer) -> Json:
    """The body of an answer."""
    stops = ask.body.get("stop_sequences") or []
    text, reason = cut(answer.text, stops, ask.body["max_tokens"], tokenizer)
    hit = next((s for s in stops if answer.text[len(text) :].startswith(s)), None)
    stop_reason = "max_tokens" if reason == "length" else "stop_sequence" if hit else "end_turn"
    if answer.refusal is not None:
        text, stop_reason = answer.refusal, "refusal"
    if answer.tool_calls:
        stop_reason = "tool_use"
    return {
        "id": "msg_local",
        "type": "message",
        "role": "assistant",
        "model": ask.body.get("model", ""),
        "content": _blocks(answer, text),
        "stop_reason": answer.finish_reason or stop_reason,
        "stop_sequence": hit if stop_reason == "stop_sequence" else None,
        "usage": _usage(ask, answer, text),
    }


def _blocks(answer: Answer, text: str) -> list[Json]:
    blocks: list[Json] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": "local"})
    if text:
        blocks.append({"type": "text", "text": text})
    for i, (name, arguments) in enumerate(answer.tool_calls):
        call = {"id": f"toolu_{i}", "name": name, "input": json.loads(arguments)}
        blocks.append({"type": "tool_use"} | call)
    return blocks


def _usage(ask: Ask, answer: Answer, text: str) -> Json:
    return {
        "input_tokens": (len(ask.prompt) + 3) // 4 - answer.cached_tokens,
        "output_tokens": (len(text) + 3) // 4 + answer.reasoning_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
    }


def message_events(body: Json) -> Iterator[bytes]:
    """The same answer as Anthropic's stream of events."""
    start = body | {"content": [], "stop_reason": None, "stop_sequence": None}
    yield _event("message_start", {"message": start})
    for index, block in enumerate(body["content"]):
        empty, deltas = _streamed(block)
        yield _event("content_block_start", {"index": index, "content_block": empty})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    end = {"stop_reason": body["stop_reason"], "stop_sequence": body["stop_sequence"]}
    usage = {"output_tokens": body["usage"]["output_tokens"]}
    yield _event("message_delta", {"delta": end, "usage": usage})
    yield _event("message_stop", {})


def _streamed(block: Json) -> tuple[Json, list[Json]]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "thinking":
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    return block | {"input": {}}, [delta]


def _event(kind: str, payload: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | payload)}\n\n".encode()


def error_body(message: str, kind: str) -> Json:
    """Anthropic's form of an error."""
    return {"type": "error", "error": {"type": kind, "message": message}}
