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


Prompt = str | Sequence[int]


def question(route: Route, model: str, *prompts: Prompt) -> Json:
    """The request that asks for the log-probabilities of one prompt, or of several."""
    sent = [prompt if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    body: Json = {
        "model": model,
        "prompt": sent[0] if len(sent) == 1 else sent,
        "max_tokens": route.max_tokens,
        "temperature": 0,
    }
    if route.kind == "echo":
        return body | {"echo": True, "logprobs": 1}
    return body | {"prompt_logprobs": 1}


def read_choices(body: bytes, prompts: int) -> tuple[list[TextChoice], WireUsage | None]:
    """What the answer says of each of so many prompts, in their order, and what it took.

    Raises:
        TransientError: The answer is malformed, or does not cover the prompts.
    """
    completion = decode(body, TextCompletion)
    choices = completion.choices or []
    if len(choices) < prompts:
        raise TransientError(
            f"The answer holds {len(choices)} choices for {prompts} prompts"
            if choices
            else "The answer holds no choices"
        )
    return sorted(choices, key=lambda choice: choice.index), completion.usage


def judge_tokens(
    choice: TextChoice, route: Route, tokens: Sequence[int], start: int, end: int | None = None
) -> Judged:
    """The judgement of `tokens[start:end]`, where `tokens` were sent as the prompt.

    Raises:
        TransientError: The answer does not cover the prompt's tokens.
    """
    end = len(tokens) if end is None else end
    if route.kind == "prompt_logprobs":
        return _by_id(choice, tokens, start, end)
    lists = _legacy(choice)
    if len(lists.token_logprobs) < len(tokens):
        told, sent = len(lists.token_logprobs), len(tokens)
        raise TransientError(f"The server judged {told} tokens of the {sent} that were sent")
    return _by_place(lists, start, end)


def judge_text(choice: TextChoice, tokens: int | None, prompt: str, start: int) -> Judged:
    """The judgement of `prompt[start:]`, where `prompt` was sent as text and echoed.

    A token that holds characters of both sides counts to the continuation. `tokens` says how
    many of those in the answer are the prompt's; None: all.

    Raises:
        RequestError: The server's tokens cannot be laid over the text.
        TransientError: The answer does not cover the prompt.
    """
    lists = _legacy(choice)
    pieces = lists.tokens[: tokens or len(lists.tokens)]
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
    return _by_place(lists, first, len(pieces))


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


def _by_id(choice: TextChoice, tokens: Sequence[int], start: int, end: int) -> Judged:
    entries = choice.prompt_logprobs
    if entries is None or len(entries) < len(tokens):
        told = len(entries or ())
        raise TransientError(f"The server judged {told} tokens of the {len(tokens)} sent")
    total, greedy = 0.0, True
    for place in range(start, end):
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
        [choice, *_], usage = read_choices(body, 1)
        if route.kind == "prompt_logprobs":
            return len(choice.prompt_logprobs or ()) > 1
        judged = _legacy(choice).token_logprobs
    except TransientError:
        return False
    generated = (usage.completion_tokens or 0) if usage else route.max_tokens
    return len(judged) > max(generated, route.max_tokens)
