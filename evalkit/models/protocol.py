"""What a model adapter must be.

An adapter knows how to reach one provider and nothing else: no benchmark, no retry, no
rate limit, no cache. It raises `TransientError`, `RequestError` or `AccessError`
(`evalkit.errors`); the engine decides what follows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, runtime_checkable

from evalkit.errors import ModelError
from evalkit.records import Record, Request, Response


class Capabilities(Record, frozen=True, kw_only=True):
    """What a model can be asked.

    Args:
        chat: Takes messages.
        text: Takes a raw prompt without a chat template.
        loglikelihood: Scores a given continuation.
        rolling: Scores whole texts too, if it gives log-likelihoods at all.
        tools: Takes tool definitions and returns structured calls.
        system: Takes a system message.
        context_length: Prompt plus answer, in tokens; None if unknown.
        max_output_tokens: The longest answer, in tokens; None if only the context limits it.
    """

    chat: bool = True
    text: bool = False
    loglikelihood: bool = False
    rolling: bool = True
    tools: bool = False
    system: bool = True
    context_length: int | None = None
    max_output_tokens: int | None = None


@runtime_checkable
class Model(Protocol):
    """One model that the engine can ask.

    Attributes:
        name: What tables and folders call it (the alias, or `provider/name`).
        provider: Whose limits it shares: models of one provider and account share a rate limit.
        identity: Everything that can change an answer (provider, name, revision, dtype,
            base URL path, fixed parameters) and nothing that cannot (keys, concurrency).
            It is part of every journal key and stands in the manifest.
        concurrency: How many calls of `ask` the engine keeps in flight by default.
        batch: How many requests one call of `ask` takes at most (1 for HTTP); where the
            adapter says what belongs together (`Grouping`), how many such groups.

    An adapter may also have `most_concurrency` (up to which the engine looks for the number of
    calls in flight from which more make the model no faster; `concurrency` is where it begins;
    None keeps that), `deadline_s` (seconds that one attempt may take; None for as long
    as it takes), `suspect_after_s` (seconds after which an attempt that is far slower than all
    before may be given up early, because asking again is free), `rate_headers` (the rate-limit
    headers of the latest answer) and `in_process` (True where the model is loaded into this
    process, which is done after all servers were found to answer).
    """

    name: str
    provider: str
    identity: dict[str, str]
    concurrency: int
    batch: int

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; final after `open`."""
        ...

    async def open(self) -> None:
        """Make ready and check what can be checked for free.

        Raises:
            InputError: No key, no server, no such local file; nothing was spent.
        """
        ...

    async def ask(self, requests: Sequence[Request]) -> Sequence[Response | ModelError]:
        """Answer up to `batch` requests of one kind, in order.

        A call that succeeds in part gives, where a response would stand, the error of that
        request alone; `LeftOutError` is for one that this call did not ask after all.

        Raises:
            ModelError: The attempt failed as a whole.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens in `text`: exact where a tokenizer is at hand, else an estimate."""
        ...

    async def close(self) -> None:
        """Give back connections and memory."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """What an adapter may have besides, whose one call can answer several requests at once."""

    def together(self, request: Request) -> Hashable | None:
        """Requests that get the same key may be answered by one call; None is asked alone.

        Such a call is one request to the provider (or little more), and counts as one: for
        its limits, for its concurrency and for the deadline.
        """
        ...
