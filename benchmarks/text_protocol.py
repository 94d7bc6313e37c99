"""The local server's raw-text endpoints: completions with prompt log-probabilities, tokenize.

Answers follow OpenAI's legacy completions (`echo`, `logprobs`, `text_offset`) and vLLM's
`prompt_logprobs`; the numbers are the toy language model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import Answer, Ask, Script
from benchmarks.openai_protocol import BadRequest, Json, cut, stops_of
from benchmarks.toy_language import Tokenizer, predict


@dataclass(frozen=True)
class TextAbilities:
    """What the server supports beyond plain completions; llama.cpp has none of it."""

    echo: bool = True
    prompt_logprobs: bool = True
    zero_max_tokens: bool = True
    tokenize: bool = True
    max_model_len: int | None = 4096


def read_prompts(body: Json, tokenizer: Tokenizer) -> list[list[int]]:
    """The prompts of a request as token ids: a text, texts, ids, or lists of ids."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [_with_bos(prompt, body, tokenizer)]
    if not isinstance(prompt, list) or not prompt:
        raise BadRequest("'prompt' must be text, a list of texts, or lists of token ids")
    if isinstance(prompt[0], int):
        return [prompt]
    return [_with_bos(p, body, tokenizer) if isinstance(p, str) else p for p in prompt]


def _with_bos(text: str, body: Json, tokenizer: Tokenizer) -> list[int]:
    wanted = body.get("add_special_tokens", True) and tokenizer.bos is not None
    start = [tokenizer.bos] if wanted and tokenizer.bos is not None else []
    return [*start, *tokenizer.encode(text)]


def text_completion(
    ask: Ask, script: Script, tokenizer: Tokenizer, abilities: TextAbilities
) -> Json:
    """The body of a text completion, one choice a prompt."""
    limit = ask.body.get("max_tokens")
    limit = 16 if limit is None else limit
    if limit == 0 and not abilities.zero_max_tokens:
        raise BadRequest("max_tokens must be at least 1, got 0.")
    prompts = read_prompts(ask.body, tokenizer)
    for tokens in prompts:
        _check_length(tokens, limit, abilities.max_model_len)
    choices = [
        _choice(index, tokens, limit, ask, script, tokenizer, abilities)
        for index, tokens in enumerate(prompts)
    ]
    output = sum(len(choice.pop("_output")) for choice in choices)
    usage = {
        "prompt_tokens": sum(map(len, prompts)),
        "completion_tokens": output,
        "total_tokens": sum(map(len, prompts)) + output,
    }
    return {
        "id": "cmpl-local",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": ask.body.get("model", ""),
        "choices": choices,
        "usage": usage,
    }


def _check_length(tokens: Sequence[int], limit: int, longest: int | None) -> None:
    if longest is not None and len(tokens) + limit > longest:
        raise BadRequest(
            f"This model's maximum context length is {longest} tokens. However, you requested "
            f"{len(tokens) + limit} tokens ({len(tokens)} in the messages, {limit} in the "
            "completion).",
            code="context_length_exceeded",
        )


def _choice(
    index: int,
    tokens: list[int],
    limit: int,
    ask: Ask,
    script: Script,
    tokenizer: Tokenizer,
    abilities: TextAbilities,
) -> Json:
    prompt = tokenizer.decode(tokens)
    said = script(Ask(path=ask.path, body=ask.body, prompt=prompt, last=prompt))
    answer = Answer(text=said) if isinstance(said, str) else said
    text, reason = cut(answer.text, stops_of(ask.body), limit, tokenizer)
    output = tokenizer.encode(text)[:limit]
    echo = bool(ask.body.get("echo")) and abilities.echo
    shown = [*tokens, *output] if echo else output
    choice: Json = {
        "index": index,
        "text": tokenizer.decode(shown),
        "finish_reason": answer.finish_reason or reason,
        "logprobs": None,
        "_output": output,
    }
    if ask.body.get("logprobs") is not None:
        choice["logprobs"] = legacy_logprobs(tokens, output, echo, tokenizer)
    if ask.body.get("prompt_logprobs") is not None and abilities.prompt_logprobs:
        choice["prompt_logprobs"] = prompt_logprobs(tokens, tokenizer)
    return choice


def legacy_logprobs(tokens: list[int], output: list[int], echo: bool, tokenizer: Tokenizer) -> Json:
    """OpenAI's four parallel lists, over prompt and answer, or over the answer alone."""
    whole = [*tokens, *output]
    start = 0 if echo else len(tokens)
    lists: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    offset = 0
    for i in range(start, len(whole)):
        piece = tokenizer.decode([whole[i]])
        guess = predict(whole[max(0, i - 2) : i], whole[i])
        top = {piece: guess.logprob} | ({} if guess.greedy else {"~": guess.best_logprob})
        lists["tokens"].append(piece)
        lists["token_logprobs"].append(guess.logprob if i else None)
        lists["top_logprobs"].append(top if i else None)
        lists["text_offset"].append(offset)
        offset += len(piece)
    return lists


def prompt_logprobs(tokens: list[int], tokenizer: Tokenizer) -> list[Json | None]:
    """vLLM's list over the prompt: a mapping from token id to its log-probability and rank."""
    entries: list[Json | None] = [None]
    for i in range(1, len(tokens)):
        guess = predict(tokens[max(0, i - 2) : i], tokens[i])
        entry = {
            str(tokens[i]): _ranked(guess.logprob, 1 if guess.greedy else 2, tokenizer, tokens[i])
        }
        if not guess.greedy:
            entry["0"] = {"logprob": guess.best_logprob, "rank": 1, "decoded_token": "~"}
        entries.append(entry)
    return entries


def _ranked(logprob: float, rank: int, tokenizer: Tokenizer, token: int) -> Json:
    return {"logprob": logprob, "rank": rank, "decoded_token": tokenizer.decode([token])}


def tokenize(body: Json, tokenizer: Tokenizer, abilities: TextAbilities) -> Json:
    """vLLM's /tokenize of a text."""
    if "prompt" not in body:
        raise BadRequest("/tokenize needs 'prompt'")
    tokens = _with_bos(body["prompt"], body, tokenizer)
    return {"tokens": tokens, "count": len(tokens), "max_model_len": abilities.max_model_len}


def detokenize(body: Json, tokenizer: Tokenizer) -> Json:
    """vLLM's /detokenize."""
    return {"prompt": tokenizer.decode(body.get("tokens", []))}
