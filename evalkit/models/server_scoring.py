"""Log-likelihoods of continuations and of whole texts, asked of a server in few requests."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.errors import ModelError, RequestError
from evalkit.models.server_logprobs import Judged
from evalkit.models.server_tokens import TokenSource, move_spaces
from evalkit.models.server_ways import NextTokens, Prompts, Scored, with_usage
from evalkit.models.tokens import Pair, rolling_windows
from evalkit.records import Usage

_NEEDS_TOKENIZER = "needs the model's tokenizer here (tokenizer=FOLDER or HUB_ID, or server)"


class Scorer:
    """Asks one model of one server how likely texts are.

    One-token continuations of one context take one request where the server lists the likeliest
    next tokens; whatever is not listed, and longer continuations, are judged as parts of
    prompts, several a request where the server takes several.

    Args:
        prompts: Asks for the log-probabilities of prompts; None where the server tells none.
        next_tokens: Asks for the likeliest next tokens; None where it does not list them.
        tokens: The model's tokens; without them texts are sent as texts and echoed.
        label: Whom messages name.
    """

    def __init__(
        self,
        *,
        prompts: Prompts | None,
        next_tokens: NextTokens | None,
        tokens: TokenSource | None,
        label: str,
    ) -> None:
        self._prompts, self._next, self._tokens = prompts, next_tokens, tokens
        self._label = label

    @property
    def judges_texts(self) -> bool:
        """Whether whole texts can be judged too."""
        return self._prompts is not None

    async def continuations(
        self, context: str, continuations: Sequence[str]
    ) -> list[Scored | ModelError]:
        """Log p(continuation | context) of each, or why that one has none.

        Raises:
            ModelError: The attempt failed as a whole.
        """
        if self._tokens is None:
            moved = [move_spaces(context, continuation) for continuation in continuations]
            return await self._texts(moved)
        found: list[Scored | ModelError | None] = [None] * len(continuations)
        pairs: dict[int, Pair] = {}
        for place, pair in enumerate(await self._tokens.pairs(context, continuations)):
            if isinstance(pair, RequestError):
                found[place] = pair
            else:
                pairs[place] = pair
        for place, scored in (await self._pairs(pairs)).items():
            found[place] = scored
        return [one for one in found if one is not None]

    async def _pairs(self, pairs: dict[int, Pair]) -> dict[int, Scored | ModelError]:
        """The judgements of token pairs, by their places."""
        if self._next is None:
            return await self._by_prompts(pairs)
        if self._prompts is None:
            judged = await self._next.walk(list(pairs.values()))
            return dict(zip(pairs, judged, strict=True))
        if not shares_context(list(pairs.values())):
            return await self._by_prompts(pairs)
        before = next(iter(pairs.values()))[0]
        tokens = [after[0] for _, after in pairs.values()]
        try:
            listed, usage = await self._next.judge(before, tokens)
        except RequestError as error:  # whatever is wrong with the context, is for all of them
            return dict.fromkeys(pairs, error)
        told = dict(zip(pairs, listed, strict=True))
        found: dict[int, Scored | ModelError] = {
            place: Scored(judged=one) for place, one in told.items() if one is not None
        }
        if left := {place: pairs[place] for place, one in told.items() if one is None}:
            found |= await self._unlisted(left, alone=not found)
        return with_usage(found, usage)

    async def _unlisted(
        self, pairs: dict[int, Pair], *, alone: bool
    ) -> dict[int, Scored | ModelError]:
        """What was not listed; where others were, a failure here is not theirs."""
        try:
            return await self._by_prompts(pairs)
        except ModelError as error:
            if alone:
                raise
            return dict.fromkeys(pairs, error)

    async def _by_prompts(self, pairs: dict[int, Pair]) -> dict[int, Scored | ModelError]:
        if self._prompts is None:
            raise RequestError(f"{self._label} gives no log-probabilities of prompts")
        judged = await self._prompts.judge(list(pairs.values()))
        return dict(zip(pairs, judged, strict=True))

    async def _texts(self, pairs: Sequence[tuple[str, str]]) -> list[Scored | ModelError]:
        if self._prompts is None or self._prompts.route.kind != "echo":
            raise RequestError(f"{self._label}: log-likelihood {_NEEDS_TOKENIZER}")
        return await self._prompts.judge_texts(pairs)

    async def whole(self, text: str) -> Scored:
        """Log p(text), in windows where it is longer than the context.

        Raises:
            ModelError: The attempt failed, or no tokenizer is at hand.
        """
        if self._prompts is None:
            raise RequestError(
                f"{self._label} lists next tokens and tells nothing of its prompts: a whole "
                "text would take a request a token, so rolling log-likelihood is not asked"
            )
        if self._tokens is None:
            raise RequestError(f"{self._label}: rolling log-likelihood {_NEEDS_TOKENIZER}")
        tokens = await self._tokens.whole(text)
        prefix = await self._tokens.prefix()
        # as lm-eval over HTTP: a window's context token and one generated token must fit too
        context = self._prompts.context_length
        longest = context - 2 if context else max(1, len(tokens))
        total, greedy, usage = 0.0, True, Usage()
        for window in rolling_windows(tokens, prefix, longest):
            [scored] = await self._prompts.judge([window])
            if isinstance(scored, ModelError):
                raise scored
            total, greedy = total + scored.judged.logprob, greedy and scored.judged.greedy
            usage += scored.usage
        return Scored(judged=Judged(logprob=total, greedy=greedy), usage=usage)


def shares_context(pairs: Sequence[Pair]) -> bool:
    """Whether all continuations are one token after the same context."""
    return bool(pairs) and all(len(after) == 1 and before == pairs[0][0] for before, after in pairs)
