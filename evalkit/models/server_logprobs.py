"""Log-likelihoods from a server's word on its prompt: what to send and how to read it.

References: `echo` with `logprobs` of OpenAI's legacy completions
(https://platform.openai.com/docs/api-reference/completions) and vLLM's `prompt_logprobs`
(https://docs.vllm.ai/en/latest/api/vllm/sampling_params.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from evalkit.errors import RequestError, TransientError
from evalkit.models.wire import TextChoice, TextCompletion, TextLogprobs, WireUsage, decode
from evalkit.records import Record

Json = dict[str, Any]


class Route(Record, frozen=True, kw_only=True):
    """How a server gives log-probabilities of a prompt.

    Args:
        kind: `echo` is OpenAI's legacy way, `prompt_logprobs` is vLLM's.
        max_tokens: The fewest tokens that the server lets itself be asked to generate.
    """

    kind: Literal["echo", "prompt_logprobs"]
    max_tokens: int


class Judged(Record, frozen=True, kw_only=True):
    """log p of a continuation (nats), and whether each of its tokens was the likeliest."""

    logprob: float
    greedy: bool


def question(route: Route, model: str, prompt: str | Sequence[int]) -> Json:
    """The request that asks for the log-probabilities of `prompt`."""
    body: Json = {
        "model": model,
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "max_tokens": route.max_tokens,
        "temperature": 0,
    }
    if route.kind == "echo":
        return body | {"echo": True, "logprobs": 1}
    return body | {"prompt_logprobs": 1}


def judge_tokens(
    body: bytes, route: Route, tokens: Sequence[int], start: int
) -> tuple[Judged, WireUsage | None]:
    """The judgement of `tokens[start:]`, where `tokens` were sent as the prompt.

    Raises:
        TransientError: The answer does not cover the prompt's tokens.
    """
    choice, usage = _choice(body)
    if route.kind == "prompt_logprobs":
        return _by_id(choice, tokens, start), usage
    lists = _legacy(choice)
    if len(lists.token_logprobs) < len(tokens):
        told, sent = len(lists.token_logprobs), len(tokens)
        raise TransientError(f"The server judged {told} tokens of the {sent} that were sent")
    return _by_place(lists, start, len(tokens)), usage


def judge_text(body: bytes, prompt: str, start: int) -> tuple[Judged, WireUsage | None]:
    """The judgement of `prompt[start:]`, where `prompt` was sent as text and echoed.

    A token that holds characters of both sides counts to the continuation.

    Raises:
        RequestError: The server's tokens cannot be laid over the text.
        TransientError: The answer does not cover the prompt.
    """
    choice, usage = _choice(body)
    lists = _legacy(choice)
    count = usage.prompt_tokens if usage and usage.prompt_tokens else len(lists.tokens)
    pieces = lists.tokens[:count]
    before = len("".join(pieces)) - len(prompt)
    if before < 0 or not "".join(pieces).endswith(prompt):
        raise RequestError(
            "The server's tokens do not spell the prompt, so that its continuation cannot be "
            "found among them: give the model's tokenizer (tokenizer=FOLDER or HUB_ID)"
        )
    at, first = 0, len(pieces)
    for place, piece in enumerate(pieces):
        at += len(piece)
        if at > before + start:
            first = place
            break
    return _by_place(lists, first, len(pieces)), usage


def _choice(body: bytes) -> tuple[TextChoice, WireUsage | None]:
    completion = decode(body, TextCompletion)
    if not completion.choices:
        raise TransientError("The answer holds no choices")
    return completion.choices[0], completion.usage


def _legacy(choice: TextChoice) -> TextLogprobs:
    if bytes(choice.logprobs) == b"null":
        raise TransientError("The answer holds no log-probabilities")
    return decode(choice.logprobs, TextLogprobs)


def _by_place(lists: TextLogprobs, start: int, end: int) -> Judged:
    total, greedy = 0.0, True
    tops = lists.top_logprobs or []
    for place in range(start, end):
        logprob = lists.token_logprobs[place]
        if logprob is None:
            raise RequestError(
                "The first token of a prompt has no log-probability: an empty context needs "
                "the model's tokenizer (tokenizer=FOLDER or HUB_ID)"
            )
        total += logprob
        top = tops[place] if place < len(tops) else None
        greedy = greedy and bool(top) and logprob >= max((top or {}).values())
    return Judged(logprob=total, greedy=greedy)


def _by_id(choice: TextChoice, tokens: Sequence[int], start: int) -> Judged:
    entries = choice.prompt_logprobs
    if entries is None or len(entries) < len(tokens):
        told = len(entries or ())
        raise TransientError(f"The server judged {told} tokens of the {len(tokens)} sent")
    total, greedy = 0.0, True
    for place in range(start, len(tokens)):
        entry = entries[place] or {}
        said = entry.get(str(tokens[place]))
        if said is None:
            raise TransientError(f"The server left out token {place} of its prompt")
        total += said.logprob
        greedy = greedy and said.logprob >= max(other.logprob for other in entry.values())
    return Judged(logprob=total, greedy=greedy)


def gives_prompt_logprobs(body: bytes, route: Route) -> bool:
    """Whether an answer to `question` judges the prompt, and not only what follows it."""
    try:
        choice, usage = _choice(body)
        if route.kind == "prompt_logprobs":
            return len(choice.prompt_logprobs or ()) > 1
        judged = _legacy(choice).token_logprobs
    except TransientError:
        return False
    generated = (usage.completion_tokens or 0) if usage else route.max_tokens
    return len(judged) > max(generated, route.max_tokens)
