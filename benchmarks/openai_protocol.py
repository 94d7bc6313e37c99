"""The local server's side of OpenAI's protocol, with vLLM's additions.

References: https://platform.openai.com/docs/api-reference (chat, completions, models) and
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html (`prompt_logprobs`,
`/tokenize`, `/detokenize`, `max_model_len`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.answers import Answer, Ask
from benchmarks.toy_language import Tokenizer, language_of

Json = dict[str, Any]


class BadRequest(Exception):
    """The request is refused: carries the HTTP status and OpenAI's error code."""

    def __init__(self, message: str, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def read_chat(path: str, body: Json) -> Ask:
    """The request as a script sees it."""
    turns = [_plain(message.get("content")) for message in body.get("messages", ())]
    if not turns:
        raise BadRequest("'messages' must hold at least one message")
    return Ask(path=path, body=body, prompt="\n".join(turns), last=turns[-1])


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", part.get("content", ""))) for part in content)
    return content or ""


def cut(
    text: str, stops: Sequence[str], limit: int | None, tokenizer: Tokenizer
) -> tuple[str, str]:
    """`text` up to the first stop sequence or the token limit, and why it ended there."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    reason = "stop"
    if found:
        text = text[: min(found)]
    if limit is None or len(text.encode()) <= limit:  # a token is a byte at least
        return text, reason
    tokens = tokenizer.encode(text)
    if len(tokens) > limit:
        return tokenizer.decode(tokens[:limit]), "length"
    return text, reason


def stops_of(body: Json) -> list[str]:
    """The stop sequences of a request, however they are written."""
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def chat_completion(ask: Ask, answers: Sequence[Answer], tokenizer: Tokenizer) -> Json:
    """The body of a chat completion, one choice an answer."""
    choices = [_chat_choice(index, ask, answer, tokenizer) for index, answer in enumerate(answers)]
    said = "".join(choice["message"]["content"] or "" for choice in choices)
    usage = usage_of(ask.prompt, said, answers)
    return _envelope("chat.completion", ask) | {"choices": choices, "usage": usage}


def _chat_choice(index: int, ask: Ask, answer: Answer, tokenizer: Tokenizer) -> Json:
    limit = ask.body.get("max_completion_tokens", ask.body.get("max_tokens"))
    text, reason = cut(answer.text, stops_of(ask.body), limit, tokenizer)
    message: Json = {"role": "assistant", "content": text, "refusal": answer.refusal}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.refusal is not None:
        message["content"] = None
    if answer.tool_calls:
        message |= {"content": text or None, "tool_calls": _tool_calls(answer)}
        reason = "tool_calls"
    return {
        "index": index,
        "message": message,
        "finish_reason": answer.finish_reason or reason,
        "logprobs": _chat_logprobs(ask, text, tokenizer),
    }


def _envelope(kind: str, ask: Ask) -> Json:
    return {
        "id": "cmpl-local",
        "object": kind,
        "created": 1_700_000_000,
        "model": ask.body.get("model", ""),
        "system_fingerprint": "fp_local",
    }


def _tool_calls(answer: Answer) -> list[Json]:
    return [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(answer.tool_calls)
    ]


def _chat_logprobs(ask: Ask, text: str, tokenizer: Tokenizer) -> Json | None:
    if not ask.body.get("logprobs"):
        return None
    listed = ask.body.get("top_logprobs") or 0
    tokens = tokenizer.encode(text)
    content = [entry_of(tokens[:i], token, listed, tokenizer) for i, token in enumerate(tokens)]
    return {"content": content, "refusal": None}


def entry_of(
    before: Sequence[int], token: int, listed: int, tokenizer: Tokenizer, warmth: float = 1.0
) -> Json:
    """What the chat format says of one token, the likeliest ones beside it; ids as llama.cpp."""
    language = language_of(tokenizer)
    top = language.top(before, listed) if listed else []
    said = _entry(language.predict(before, token).logprob, token, tokenizer)
    return said | {
        "top_logprobs": [_entry(logprob / warmth, one, tokenizer) for logprob, one in top]
    }


def _entry(logprob: float, token: int, tokenizer: Tokenizer) -> Json:
    return {"id": token, "token": tokenizer.decode([token]), "logprob": logprob, "bytes": None}


def usage_of(prompt: str, text: str, answers: Sequence[Answer]) -> Json:
    """Token counts, at four characters a token: counting must not be what is measured."""
    reasoning = sum(answer.reasoning_tokens for answer in answers)
    input_tokens = (len(prompt) + 3) // 4
    output_tokens = (len(text) + 3) // 4 + reasoning
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": max(a.cached_tokens for a in answers)},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def chat_chunks(ask: Ask, completion: Json) -> Iterator[bytes]:
    """The same completion as server-sent events; usage at the end when it was asked for."""
    head = completion | {"object": "chat.completion.chunk"}
    usage = head.pop("usage")
    for choice in completion["choices"]:
        for delta, reason in _deltas(choice):
            part = {"index": choice["index"], "delta": delta, "finish_reason": reason}
            yield _event(head | {"choices": [part]})
    if (ask.body.get("stream_options") or {}).get("include_usage"):
        yield _event(head | {"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _deltas(choice: Json) -> Iterator[tuple[Json, str | None]]:
    message = choice["message"]
    yield {"role": "assistant", "content": ""}, None
    text = message["content"] or ""
    for start in range(0, len(text), 8):
        yield {"content": text[start : start + 8]}, None
    if message.get("refusal"):
        yield {"refusal": message["refusal"]}, None
    if message.get("tool_calls"):
        calls = [call | {"index": i} for i, call in enumerate(message["tool_calls"])]
        yield {"tool_calls": calls}, None
    yield {}, choice["finish_reason"]


def _event(payload: Json) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def error_body(message: str, kind: str, code: str | None) -> Json:
    """OpenAI's form of an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
