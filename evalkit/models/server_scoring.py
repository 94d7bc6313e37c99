"""Log-likelihoods of pairs and of whole texts, asked of a server that judges its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.errors import RequestError
from evalkit.models.server_client import ServerClient
from evalkit.models.server_logprobs import Judged, Route, judge_text, judge_tokens, question
from evalkit.models.server_tokens import TokenSource, move_spaces
from evalkit.models.tokens import rolling_windows
from evalkit.models.wire import usage_of
from evalkit.records import Record, Usage

_NEEDS_TOKENIZER = "needs the model's tokenizer here (tokenizer=FOLDER or HUB_ID, or server)"


class Scored(Record, frozen=True, kw_only=True):
    """A judgement and what it took."""

    judged: Judged
    usage: Usage


class PromptScorer:
    """Asks one model of one server how likely texts are.

    Args:
        client: Reaches the server.
        url: Its text completions.
        model: The name it knows the model by.
        route: How it gives log-probabilities.
        tokens: The model's tokens; without them texts are sent as texts and echoed.
        context_length: Prompt plus answer, in tokens, if known.
        label: Whom messages name.
    """

    def __init__(
        self,
        *,
        client: ServerClient,
        url: str,
        model: str,
        route: Route,
        tokens: TokenSource | None,
        context_length: int | None,
        label: str,
    ) -> None:
        self._client, self._url, self._model, self._route = client, url, model, route
        self._tokens, self._context, self._label = tokens, context_length, label

    async def pair(self, context: str, continuation: str) -> Scored:
        """Log p(continuation | context).

        Raises:
            ModelError: The attempt failed, or the pair does not fit or cannot be split.
        """
        if self._tokens is None:
            return await self._judge_text(*move_spaces(context, continuation))
        before, after = await self._tokens.pair(context, continuation)
        return await self._judge(before, after)

    async def whole(self, text: str) -> Scored:
        """Log p(text), in windows where it is longer than the context.

        Raises:
            ModelError: The attempt failed, or no tokenizer is at hand.
        """
        if self._tokens is None:
            raise RequestError(f"{self._label}: rolling log-likelihood {_NEEDS_TOKENIZER}")
        tokens = await self._tokens.whole(text)
        prefix = await self._tokens.prefix()
        # as lm-eval over HTTP: a window's context token and one generated token must fit too
        longest = self._context - 2 if self._context else max(1, len(tokens))
        total, greedy, usage = 0.0, True, Usage()
        for before, after in rolling_windows(tokens, prefix, longest):
            scored = await self._judge(before, after)
            total, greedy = total + scored.judged.logprob, greedy and scored.judged.greedy
            usage += scored.usage
        return Scored(judged=Judged(logprob=total, greedy=greedy), usage=usage)

    async def _judge(self, before: Sequence[int], after: Sequence[int]) -> Scored:
        tokens = [*before, *after]
        must_fit(self._label, len(tokens), self._route.max_tokens, self._context)
        body = await self._send(tokens)
        judged, usage = judge_tokens(body, self._route, tokens, len(before))
        return Scored(judged=judged, usage=usage_of(usage))

    async def _judge_text(self, context: str, continuation: str) -> Scored:
        if self._route.kind != "echo":
            raise RequestError(f"{self._label}: log-likelihood {_NEEDS_TOKENIZER}")
        whole = context + continuation
        judged, usage = judge_text(await self._send(whole), whole, len(context))
        return Scored(judged=judged, usage=usage_of(usage))

    async def _send(self, prompt: str | list[int]) -> bytes:
        body: dict[str, Any] = question(self._route, self._model, prompt)
        return await self._client.post(self._url, body)


def must_fit(label: str, prompt: int, generated: int, context_length: int | None) -> None:
    """Refuse what a context cannot hold, with the numbers; nothing is ever cut.

    Raises:
        RequestError: It does not fit.
    """
    if context_length is not None and prompt + generated > context_length:
        raise RequestError(
            f"{label}: {prompt} tokens of prompt and {generated} to generate do not fit into "
            f"its context of {context_length}"
        )
