"""The two ways to a log-likelihood over HTTP: a word on the prompt, or the next token's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from evalkit.errors import LeftOutError, ModelError, RequestError
from evalkit.models.server_client import ServerClient
from evalkit.models.server_logprobs import (
    Judged,
    Prompt,
    Route,
    judge_text,
    judge_tokens,
    question,
    read_choices,
)
from evalkit.models.server_next import Listing, NextRoute, next_question, read_next
from evalkit.models.tokens import Pair
from evalkit.models.wire import TextChoice, WireUsage, usage_of
from evalkit.records import Record, Usage

#: A token that is not listed is looked for in a list so many times longer.
_LONGER = 16


class Scored(Record, frozen=True, kw_only=True):
    """A judgement and what it took; what a request took is told once, by its first judgement."""

    judged: Judged
    usage: Usage = Usage()


class Place(Record, frozen=True, kw_only=True):
    """Where a model is asked.

    Args:
        client: Reaches the server.
        url: Its text completions.
        model: The name it knows the model by.
        context_length: Prompt plus answer, in tokens, if known.
        label: Whom messages name.
    """

    client: ServerClient
    url: str
    model: str
    context_length: int | None
    label: str


class Prompts:
    """Asks for the log-probabilities of prompts.

    Args:
        place: Where.
        route: How the server gives them.
        several: Whether it takes several prompts a request.
    """

    def __init__(self, place: Place, route: Route, *, several: bool) -> None:
        self._place, self.route, self.several = place, route, several

    @property
    def context_length(self) -> int | None:
        """Prompt plus answer, in tokens, if known."""
        return self._place.context_length

    async def judge(self, pairs: Sequence[Pair]) -> list[Scored | ModelError]:
        """The judgement of each pair's second part, or why that one has none.

        A continuation that another one begins with is judged within that one's prompt.

        Raises:
            ModelError: The request failed.
        """
        wholes = [(*before, *after) for before, after in pairs]
        refused = {whole: error for whole in wholes if (error := self._misfit(len(whole)))}
        hosts = hosts_of([whole for whole in wholes if whole not in refused])
        asked = list(dict.fromkeys(hosts.values()))
        sent = asked if self.several else asked[:1]
        choices, usage = await self._ask(sent)
        told = dict(zip(sent, choices, strict=True))
        found: dict[int, Scored | ModelError] = {}
        for at, (whole, (before, _)) in enumerate(zip(wholes, pairs, strict=True)):
            found[at] = refused.get(whole) or self._judged(
                told.get(hosts[whole]), hosts[whole], len(before), len(whole)
            )
        return list(with_usage(found, usage_of(usage)).values())

    def _judged(
        self, choice: TextChoice | None, tokens: Sequence[int], start: int, end: int
    ) -> Scored | ModelError:
        if choice is None:
            return LeftOutError("The server takes one prompt a request")
        try:
            return Scored(judged=judge_tokens(choice, self.route, tokens, start, end))
        except ModelError as error:
            return error

    async def judge_texts(self, pairs: Sequence[tuple[str, str]]) -> list[Scored | ModelError]:
        """The judgement of each pair's second part, sent as texts; see `judge`."""
        # how many tokens of an echo are the prompt's, a server tells of all prompts together
        several = self.several and self.route.max_tokens == 0
        texts = list(dict.fromkeys(before + after for before, after in pairs))
        sent = texts if several else texts[:1]
        choices, usage = await self._ask(sent)
        count = usage.prompt_tokens if usage and len(sent) == 1 else None
        told = dict(zip(sent, choices, strict=True))
        found: dict[int, Scored | ModelError] = {}
        for at, (before, after) in enumerate(pairs):
            if (choice := told.get(before + after)) is None:
                found[at] = LeftOutError("The server takes one prompt a request")
                continue
            try:
                judged = judge_text(choice, count, before + after, len(before))
                found[at] = Scored(judged=judged)
            except ModelError as error:
                found[at] = error
        return list(with_usage(found, usage_of(usage)).values())

    def _misfit(self, tokens: int) -> RequestError | None:
        place = self._place
        try:
            must_fit(place.label, tokens, self.route.max_tokens, place.context_length)
        except RequestError as error:
            return error
        return None

    async def _ask(self, prompts: Sequence[Prompt]) -> tuple[list[TextChoice], WireUsage | None]:
        if not prompts:
            return [], None
        body = question(self.route, self._place.model, *prompts)
        answer = await self._place.client.post(self._place.url, body)
        choices, usage = read_choices(answer, len(prompts))
        return choices[: len(prompts)], usage


class NextTokens:
    """Asks for the likeliest next tokens.

    Args:
        place: Where.
        route: How the server lists them.
    """

    def __init__(self, place: Place, route: NextRoute) -> None:
        self._place, self._route = place, route

    async def judge(
        self, before: Sequence[int], tokens: Sequence[int]
    ) -> tuple[list[Judged | None], Usage]:
        """The judgement of each of `tokens` after `before` (None: not listed), and what it took.

        Raises:
            ModelError: The request failed, or the context does not fit.
        """
        listing, usage = await self._list(before, self._route.most)
        return [listing.judge(token) for token in tokens], usage

    async def walk(self, pairs: Sequence[Pair]) -> list[Scored | ModelError]:
        """The judgement of each pair, token by token, for a server with no other way.

        Exact: a token that is not listed is looked for in longer lists, up to the whole
        vocabulary. Slow, but for the server's prefix cache: a request a token.

        Raises:
            ModelError: The first request failed, and not for what it asked.
        """
        known: dict[tuple[int, ...], Listing] = {}
        found: list[Scored | ModelError] = []
        for before, after in pairs:
            try:
                found.append(await self._walk(before, after, known))
            except ModelError as error:
                if not found and not isinstance(error, RequestError):
                    raise
                found.append(error)
        return found

    async def _walk(
        self, before: Sequence[int], after: Sequence[int], known: dict[tuple[int, ...], Listing]
    ) -> Scored:
        total, greedy, usage = 0.0, True, Usage()
        for place, token in enumerate(after):
            judged, took = await self._find((*before, *after[:place]), token, known)
            total, greedy, usage = total + judged.logprob, greedy and judged.greedy, usage + took
        return Scored(judged=Judged(logprob=total, greedy=greedy), usage=usage)

    async def _find(
        self, before: tuple[int, ...], token: int, known: dict[tuple[int, ...], Listing]
    ) -> tuple[Judged, Usage]:
        most, usage = self._route.most, Usage()
        while True:
            if (listing := known.get(before)) is None:
                listing, took = await self._list(before, most)
                known[before], usage = listing, usage + took
            if (judged := listing.judge(token)) is not None:
                return judged, usage
            if listing.length < most:
                raise RequestError(
                    f"{self._place.label} lists {listing.length} tokens, and not token {token}"
                )
            most = _LONGER * listing.length
            del known[before]

    async def _list(self, before: Sequence[int], most: int) -> tuple[Listing, Usage]:
        place, route = self._place, self._route
        must_fit(place.label, len(before), 1, place.context_length)
        as_ids = route.naming == "ids"
        body = next_question(place.model, before, most, as_ids=as_ids)
        listing, usage = read_next(await place.client.post(place.url, body), route)
        return listing, usage_of(usage)


Tokens = tuple[int, ...]


def hosts_of(prompts: Sequence[Tokens]) -> dict[Tokens, Tokens]:
    """For each prompt the one that it is sent within: itself, or one that begins with it."""
    hosts: dict[Tokens, Tokens] = {}
    for prompt in sorted(prompts, key=len, reverse=True):
        begins = (host for host in hosts.values() if host[: len(prompt)] == prompt)
        hosts[prompt] = next(begins, prompt)
    return {prompt: hosts[prompt] for prompt in prompts}


At = TypeVar("At")


def with_usage(
    found: Mapping[At, Scored | ModelError], usage: Usage
) -> dict[At, Scored | ModelError]:
    """`found`, the first judgement's usage being `usage` more: sums count a request once."""
    told = dict(found)
    for at, one in told.items():
        if isinstance(one, Scored):
            told[at] = msgspec.structs.replace(one, usage=one.usage + usage)
            break
    return told


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
