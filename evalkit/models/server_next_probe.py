"""Whether a server lists the likeliest next tokens, how, and whether its lists can be trusted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from evalkit.errors import ModelError, RequestError
from evalkit.models.server_client import ServerClient
from evalkit.models.server_logprobs import Judged, Route, judge_tokens, question, read_choices
from evalkit.models.server_next import (
    Listing,
    NextRoute,
    naming_of,
    next_question,
    read_next,
)
from evalkit.models.server_probe import ask_patiently
from evalkit.models.server_tokens import TokenSource
from evalkit.models.wire import TextChoice

_log = logging.getLogger(__name__)

#: What next tokens are listed of; its tokens repeat, so that a penalty on repetition shows.
PROBE = "1 2 3 1 2 3 1 2"
#: How many tokens a list may hold: vLLM lists 20 unless told otherwise, OpenAI's legacy API 5.
LENGTHS = (64, 20, 5)
#: How far two ways to one log-probability may lie apart (nats): half precision, other kernels.
TOLERANCE = 0.1
#: The temperature at which a list must stay the same: it is to say what the model says.
_WARM = 1.7


class NextProbe:
    """Finds out how one server lists the likeliest next tokens.

    Args:
        client: Reaches the server.
        url: Its text completions.
        model: The name it knows the model by.
        tokens: The model's tokens.
    """

    def __init__(self, client: ServerClient, url: str, model: str, tokens: TokenSource) -> None:
        self._client, self._url, self._model, self._tokens = client, url, model, tokens

    async def find(self, route: Route | None, *, several: bool = False) -> NextRoute | None:
        """The way to the likeliest next tokens, if there is one that agrees with the model.

        Args:
            route: How the server gives log-probabilities of prompts, which must say the same.
                Without it only a server is believed that lists any number of tokens by their
                ids, whatever the temperature.
            several: Whether the server takes several prompts a request.

        Raises:
            UnreachableError: The server does not answer these questions.
            InputError: The server refuses access altogether.
        """
        try:
            probe = await self._tokens.prompt(PROBE)
        except ModelError as error:
            _log.info("%s is not asked for next tokens: %s", self._model, error)
            return None
        found = await self._first_that_lists(probe)
        if found is None:
            return None
        way, listing = found
        agrees = (
            await self._as_prompts(way, listing, probe, route, several)
            if route is not None
            else way.naming == "entries" and await self._as_warm(way, listing, probe)
        )
        return way if agrees else None

    async def _first_that_lists(self, probe: Sequence[int]) -> tuple[NextRoute, Listing] | None:
        for as_ids in (True, False):
            for most in LENGTHS:
                body = next_question(self._model, probe, most, as_ids=as_ids)
                answer = await ask_patiently(self._client, self._url, body)
                naming = None if answer is None else naming_of(answer)
                if answer is None or naming is None:
                    continue
                names = await asyncio.to_thread(self._tokens.names) if naming == "texts" else {}
                way = NextRoute(naming=naming, most=most, names=names)
                listing, _ = read_next(answer, way)
                if listing.logprobs:
                    return way, listing
                return None
        return None

    async def _as_prompts(
        self, way: NextRoute, listing: Listing, probe: list[int], route: Route, several: bool
    ) -> bool:
        """Whether prompts get the log-probabilities that the list says."""
        ordered = sorted(listing.logprobs, key=lambda token: -listing.logprobs[token])
        some = list(dict.fromkeys((ordered[0], ordered[len(ordered) // 2], ordered[-1])))
        try:
            judged = await self._judge_prompts(route, probe, some, several)
        except ModelError as error:
            _log.warning("%s: next tokens are not used: %s", self._model, error)
            return False
        pairs = zip(some, judged, strict=True)
        apart = max(abs(one.logprob - listing.logprobs[token]) for token, one in pairs)
        if apart > TOLERANCE:
            _log.warning(
                "%s: its list of next tokens is %.2g nats off what it says of prompts "
                "(a temperature, penalty or bias of the server's?), so prompts are asked",
                self._model,
                apart,
            )
            return False
        _log.info("%s lists %d next tokens by %s", self._model, way.most, way.naming)
        return True

    async def _judge_prompts(
        self, route: Route, probe: list[int], tokens: Sequence[int], several: bool
    ) -> list[Judged]:
        """What prompts say of each of `tokens` after `probe`.

        Raises:
            ModelError: The server does not say it.
        """
        prompts = [[*probe, token] for token in tokens]
        choices: list[TextChoice] = []
        for part in [prompts] if several else [[prompt] for prompt in prompts]:
            body = question(route, self._model, *part)
            answer = await ask_patiently(self._client, self._url, body)
            if answer is None:
                raise RequestError("it no longer judges prompts")
            choices += read_choices(answer, len(part))[0]
        return [
            judge_tokens(choice, route, prompt, len(probe))
            for choice, prompt in zip(choices, prompts, strict=True)
        ]

    async def _as_warm(self, way: NextRoute, listing: Listing, probe: Sequence[int]) -> bool:
        """Whether the list is the same at another temperature."""
        body = next_question(self._model, probe, way.most, as_ids=False) | {"temperature": _WARM}
        answer = await ask_patiently(self._client, self._url, body)
        if answer is None:
            return False
        try:
            warm, _ = read_next(answer, way)
        except ModelError:
            return False
        both = listing.logprobs.keys() & warm.logprobs.keys()
        same = all(abs(warm.logprobs[t] - listing.logprobs[t]) <= TOLERANCE for t in both)
        return len(both) >= way.most // 2 and same
