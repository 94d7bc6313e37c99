"""The likeliest next tokens of a context: all one-token continuations in one request.

Multiple choice with letters asks for four tokens after the same context. A server that lists
the likeliest next tokens answers all of them at once, and, unlike a question about its prompt
(vLLM computes such a prompt anew), from its prefix cache.

Tokens must be told apart. vLLM names them by their ids if asked to
(`return_tokens_as_token_ids`), llama.cpp lists them with their ids, in the chat's format; others
name them by how they print, which identifies only those that print like no other token.

References: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html and
https://github.com/ggml-org/llama.cpp/tree/master/tools/server (`n_probs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from evalkit.errors import TransientError
from evalkit.models.server_logprobs import Judged, read_choices
from evalkit.models.wire import TextLogprobs, WireUsage, decode
from evalkit.records import Record

Json = dict[str, Any]

#: ids      the names hold the ids (vLLM's `return_tokens_as_token_ids`)
#: entries  the chat's format, with ids (llama.cpp)
#: texts    the names are how tokens print
Naming = Literal["ids", "entries", "texts"]

_ID = "token_id:"


class NextRoute(Record, frozen=True, kw_only=True):
    """How a server lists the likeliest next tokens.

    Args:
        naming: How it names them.
        most: How many are asked for.
        names: The tokens that print like no other, by how they print (for `texts`).
    """

    naming: Naming
    most: int
    names: Mapping[str, int] = {}


class Listing(Record, frozen=True, kw_only=True):
    """What a server says of the next token.

    Args:
        logprobs: Log-probabilities (nats) of the listed tokens that are identified, by id.
        best: That of the likeliest.
        length: How many tokens are listed.
    """

    logprobs: dict[int, float]
    best: float
    length: int

    def judge(self, token: int) -> Judged | None:
        """The judgement of `token` as the continuation; None where it is not listed."""
        logprob = self.logprobs.get(token)
        return None if logprob is None else Judged(logprob=logprob, greedy=logprob >= self.best)


class _Entry(msgspec.Struct):
    id: int | None = None
    logprob: float | None = None
    top_logprobs: list[_Entry] | None = None


class _Entries(msgspec.Struct):
    content: list[_Entry] | None = None


_entries = msgspec.json.Decoder(_Entries)


def next_question(model: str, tokens: Sequence[int], most: int, *, as_ids: bool) -> Json:
    """The request for the `most` likeliest tokens after `tokens`.

    The temperature is 0: whoever lists log-probabilities after the temperature has none to
    apply then, and everybody else does not look at it.
    """
    body: Json = {
        "model": model,
        "prompt": list(tokens),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": most,
    }
    return body | ({"return_tokens_as_token_ids": True} if as_ids else {})


def naming_of(body: bytes) -> Naming | None:
    """How an answer to `next_question` names the tokens; None where it lists none."""
    try:
        [choice, *_], _ = read_choices(body, 1)
        if _entries_of(choice.logprobs):
            return "entries"
        top = _texts_of(choice.logprobs)
    except TransientError:
        return None
    return "ids" if top and all(name.startswith(_ID) for name in top) else "texts"


def read_next(body: bytes, route: NextRoute) -> tuple[Listing, WireUsage | None]:
    """What an answer to `next_question` lists, and what it took.

    Raises:
        TransientError: It lists nothing, or names the tokens differently than before.
    """
    [choice, *_], usage = read_choices(body, 1)
    if route.naming == "entries":
        entries = _entries_of(choice.logprobs)
        logprobs = {one.id: one.logprob for one in entries if one.id is not None}
        told = {token: value for token, value in logprobs.items() if value is not None}
        return _listing(told, list(told.values())), usage
    top = _texts_of(choice.logprobs)
    if route.naming == "texts":
        told = {route.names[name]: value for name, value in top.items() if name in route.names}
    elif all(name.startswith(_ID) for name in top):
        told = {int(name[len(_ID) :]): value for name, value in top.items()}
    else:
        raise TransientError("The server names tokens by their texts where ids were asked for")
    return _listing(told, list(top.values())), usage


def _listing(logprobs: dict[int, float], values: list[float]) -> Listing:
    if not values:
        raise TransientError("The answer lists no next tokens")
    return Listing(logprobs=logprobs, best=max(values), length=len(values))


def _entries_of(logprobs: msgspec.Raw) -> list[_Entry]:
    try:
        content = _entries.decode(logprobs).content
    except msgspec.DecodeError:
        return []
    return (content[0].top_logprobs or []) if content else []


def _texts_of(logprobs: msgspec.Raw) -> dict[str, float]:
    tops = [] if bytes(logprobs) == b"null" else decode(logprobs, TextLogprobs).top_logprobs
    if not tops or not tops[0]:
        raise TransientError("The answer lists no next tokens")
    return tops[0]
