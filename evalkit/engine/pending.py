"""Requests on their way to one model."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from evalkit.engine.window import prompt_characters
from evalkit.errors import StoppedError
from evalkit.records import Request, Response

#: Says which requests one call may answer: those of one key; None is asked alone.
Together = Callable[[Request], Hashable | None]

#: So many requests one call answers at most (OpenAI's bound for `n`).
MOST_TOGETHER = 128


#: The rank of what is asked again: it goes before everything new.
_FIRST = -1_000
#: Answer tokens expected where a request sets no limit.
_LIKELY_ANSWER = 256


@dataclass(slots=True, eq=False)
class Pending:
    """A request on its way; whoever waits for it gets its response, or why it was not asked.

    `attempts` are those that failed and count; `sends` are all, refusals for asking too
    fast included, the first of which left at `refused_since`. `ended` is told the key.
    """

    key: str
    request: Request
    ended: Callable[[str], object] = lambda key: None
    number: int = 0
    attempts: int = 0
    sends: int = 0
    refused_since: float | None = None
    tokens: float = 0.0
    over: bool = False
    waiters: list[asyncio.Future[Response | StoppedError]] = field(default_factory=list)

    def wait(self) -> asyncio.Future[Response | StoppedError]:
        """What the request comes to; each caller has a future of its own, and may cancel it."""
        waiter: asyncio.Future[Response | StoppedError] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        return waiter

    def end(self, verdict: Response | StoppedError) -> None:
        """Tell everybody who waits, once."""
        if self.over:
            return
        self.over = True
        self.ended(self.key)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(verdict)


def rank_of(request: Request) -> int:
    """The place of a new request in the line: the long ones first, so that the end is short.

    Lengths that differ by less than a factor of two rank alike: requests with a common beginning
    stay together, and the server's prefix cache finds it.
    """
    answer = 0
    if request.kind == "generate":
        limit = request.sampling.max_tokens
        answer = _LIKELY_ANSWER if limit is None else limit
    return -(prompt_characters((request,)) // 4 + answer).bit_length()


class Group:
    """Waiting requests that one call may answer, the oldest first."""

    __slots__ = ("key", "members", "number", "rank")

    def __init__(self, key: Hashable | None, rank: int, number: int) -> None:
        self.key, self.rank, self.number = key, rank, number
        self.members: list[Pending] = []

    def __lt__(self, other: Group) -> bool:
        return (self.rank, self.number) < (other.rank, other.number)


class Waiting:
    """Requests that wait, a queue a kind: a call of the model takes only one kind.

    What is asked again goes first, then the long ones, then the old ones.

    Args:
        together: Which requests belong into one call; None where each is for itself.
    """

    def __init__(self, together: Together | None = None) -> None:
        self._together = together
        self._queues: dict[str, list[Group]] = {}
        #: Groups that wait and have room for more, by their keys.
        self._open: dict[Hashable, Group] = {}
        self._count = 0

    def append(self, pending: Pending) -> None:
        """Queue a new request."""
        pending.number = self._count
        self._count += 1
        self._group(pending, rank_of(pending.request)).members.append(pending)

    def put_back(self, batch: Sequence[Pending]) -> None:
        """Queue requests again, before the new ones: older samples end first."""
        for pending in reversed(batch):
            self._group(pending, _FIRST).members.insert(0, pending)

    def _group(self, pending: Pending, rank: int) -> Group:
        """The group that takes `pending`: one that waits and has room, or a new one."""
        key = None if self._together is None else self._together(pending.request)
        group = None if key is None else self._open.get(key)
        if group is None or len(group.members) >= MOST_TOGETHER:
            group = Group(key, rank, pending.number)
            heapq.heappush(self._queues.setdefault(pending.request.kind, []), group)
            if key is not None:
                self._open[key] = group
        return group

    def next_batch(self, most: int) -> list[Pending]:
        """Up to `most` requests (where requests come in groups: groups) of one kind."""
        queues = [queue for queue in self._queues.values() if queue]
        if not queues:
            return []
        queue = min(queues, key=lambda waiting: waiting[0])
        taken = [heapq.heappop(queue) for _ in range(min(max(1, most), len(queue)))]
        return list(self._members(taken))

    def _members(self, groups: Iterable[Group]) -> Iterator[Pending]:
        for group in groups:
            if self._open.get(group.key) is group:
                del self._open[group.key]
            yield from group.members

    def drain(self) -> Iterator[Pending]:
        """Take everything out."""
        for queue in self._queues.values():
            while queue:
                yield from self._members((heapq.heappop(queue),))
