"""The local server's raw-text endpoints: completions with prompt log-probabilities, tokenize.

Answers follow OpenAI's legacy completions (`echo`, `logprobs`, `text_offset`) and vLLM's
`prompt_logprobs`; the numbers are the toy language model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import Answer, Ask, Script
from benchmarks.openai_protocol import BadRequest, Json, cut, entry_of, stops_of
from benchmarks.prefix_cache import PrefixCache
from benchmarks.toy_language import Tokenizer, language_of


@dataclass(frozen=True)
class TextAbilities:
    """What the server supports beyond plain completions; llama.cpp has little of it.

    Args:
        echo: OpenAI's legacy echo of the prompt, with its log-probabilities.
        prompt_logprobs: vLLM's.
        zero_max_tokens: Takes `max_tokens=0`.
        tokenize: Has `/tokenize` and `/detokenize`.
        max_model_len: Prompt plus answer, in tokens.
        max_logprobs: How many of the likeliest tokens it lists; None for any number.
        token_ids: Honours vLLM's `return_tokens_as_token_ids`.
        strict: Refuses fields that it does not know (`token_ids` false: that one).
        entries: Lists the likeliest tokens in the chat's format, with ids, as llama.cpp does.
        sharpened: Its listed log-probabilities are those after a temperature, times this.
        warms: Its entries are those after the temperature that is asked for.
        several_prompts: Takes a list of prompts.
        most_n: The most choices of one prompt; more are refused.
        ignores_n: Always answers with one choice.
    """

    echo: bool = True
    prompt_logprobs: bool = True
    zero_max_tokens: bool = True
    tokenize: bool = True
    max_model_len: int | None = 4096
    max_logprobs: int | None = 20
    token_ids: bool = True
    strict: bool = False
    entries: bool = False
    sharpened: float = 1.0
    warms: bool = False
    several_prompts: bool = True
    most_n: int = 128
    ignores_n: bool = False


def draws_of(body: Json, abilities: TextAbilities) -> int:
    """How many choices of each prompt a request gets."""
    draws: int = body.get("n") or 1
    if draws > abilities.most_n and not abilities.ignores_n:
        raise BadRequest(f"n must be at most {abilities.most_n}, got {draws}.")
    if draws > 1 and body.get("temperature") == 0:
        raise BadRequest(f"n must be 1 when using greedy sampling, got {draws}.")
    return 1 if abilities.ignores_n else draws


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
    ask: Ask,
    script: Script,
    tokenizer: Tokenizer,
    abilities: TextAbilities,
    cache: PrefixCache | None = None,
) -> Json:
    """The body of a text completion: as many choices a prompt as were asked for."""
    body = ask.body
    limit = body.get("max_tokens")
    limit = 16 if limit is None else limit
    if limit == 0 and not abilities.zero_max_tokens:
        raise BadRequest("max_tokens must be at least 1, got 0.")
    _check_logprobs(body, abilities)
    prompts = read_prompts(body, tokenizer)
    if len(prompts) > 1 and not abilities.several_prompts:
        raise BadRequest("'prompt' must be one prompt.")
    for tokens in prompts:
        _check_length(tokens, limit, abilities.max_model_len)
    draws = draws_of(body, abilities)
    choices = [
        _choice(index, tokens, limit, ask, script, tokenizer, abilities)
        for index, tokens in enumerate(tokens for tokens in prompts for _ in range(draws))
    ]
    output = sum(len(choice.pop("_output")) for choice in choices)
    usage: Json = {
        "prompt_tokens": sum(map(len, prompts)),
        "completion_tokens": output,
        "total_tokens": sum(map(len, prompts)) + output,
    }
    # vLLM computes a prompt anew whose log-probabilities are asked for
    if cache is not None and body.get("prompt_logprobs") is None:
        cached = sum(cache.read(tokens) for tokens in prompts)
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {
        "id": "cmpl-local",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": body.get("model", ""),
        "choices": choices,
        "usage": usage,
    }


def _check_logprobs(body: Json, abilities: TextAbilities) -> None:
    for name in ("logprobs", "prompt_logprobs"):
        asked, most = body.get(name), abilities.max_logprobs
        if asked is not None and most is not None and asked > most:
            raise BadRequest(
                f"Requested sample logprobs of {asked}, which is greater than max allowed: {most}"
            )
    if abilities.strict and "return_tokens_as_token_ids" in body:
        raise BadRequest("Unrecognized request argument supplied: return_tokens_as_token_ids")


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
    draw = index % (ask.body.get("n") or 1)
    said = script(Ask(path=ask.path, body=ask.body, prompt=prompt, last=prompt, draw=draw))
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
    listed = ask.body.get("logprobs")
    if listed is not None and abilities.entries:
        warmth = (ask.body.get("temperature") or 1.0) if abilities.warms else 1.0
        choice["logprobs"] = {
            "content": [
                entry_of([*tokens, *output[:i]], token, listed, tokenizer, warmth)
                for i, token in enumerate(output)
            ]
        }
    elif listed is not None:
        as_ids = bool(ask.body.get("return_tokens_as_token_ids")) and abilities.token_ids
        choice["logprobs"] = legacy_logprobs(
            tokens, output, echo, tokenizer, listed, as_ids, abilities.sharpened
        )
    if ask.body.get("prompt_logprobs") is not None and abilities.prompt_logprobs:
        choice["prompt_logprobs"] = prompt_logprobs(tokens, tokenizer)
    return choice


def legacy_logprobs(
    tokens: list[int],
    output: list[int],
    echo: bool,
    tokenizer: Tokenizer,
    listed: int,
    as_ids: bool,
    sharpened: float,
) -> Json:
    """OpenAI's four parallel lists, over prompt and answer, or over the answer alone."""
    language = language_of(tokenizer)
    whole = [*tokens, *output]
    lists: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }

    def name(token: int) -> str:
        return f"token_id:{token}" if as_ids else tokenizer.decode([token])

    offset = 0
    for i in range(0 if echo else len(tokens), len(whole)):
        before, token = whole[max(0, i - 2) : i], whole[i]
        times = 1.0 if i < len(tokens) else sharpened
        logprob = language.predict(before, token).logprob
        top = {name(one): value * times for value, one in language.top(before, listed)}
        piece = tokenizer.decode([token])
        lists["tokens"].append(name(token))
        lists["token_logprobs"].append(logprob * times if i else None)
        lists["top_logprobs"].append(top | {name(token): logprob * times} if i else None)
        lists["text_offset"].append(offset)
        offset += len(piece)
    return lists


def prompt_logprobs(tokens: list[int], tokenizer: Tokenizer) -> list[Json | None]:
    """vLLM's list over the prompt: a mapping from token id to its log-probability and rank."""
    language = language_of(tokenizer)
    entries: list[Json | None] = [None]
    for i in range(1, len(tokens)):
        before = tokens[max(0, i - 2) : i]
        guess = language.predict(before, tokens[i])
        rank = 1 if guess.greedy else 2
        entry = {str(tokens[i]): _ranked(guess.logprob, rank, tokenizer, tokens[i])}
        if not guess.greedy:
            [(logprob, best)] = language.top(before, 1)
            entry[str(best)] = _ranked(logprob, 1, tokenizer, best)
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
