"""Requests on their way to one model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from evalkit.errors import StoppedError
from evalkit.records import Request, Response

#: Says which requests one call may answer: those of one key; None is asked alone.
Together = Callable[[Request], Hashable | None]

#: So many requests one call answers at most (OpenAI's bound for `n`).
MOST_TOGETHER = 128


@dataclass(slots=True, eq=False)
class Pending:
    """A request on its way; `verdict` becomes its response, or why it was not asked.

    `attempts` are those that failed and count; `sends` are all, refusals for asking too
    fast included, the first of which left at `refused_since`.
    """

    key: str
    request: Request
    verdict: asyncio.Future[Response | StoppedError]
    number: int = 0
    attempts: int = 0
    sends: int = 0
    refused_since: float | None = None
    tokens: float = 0.0

    def end(self, verdict: Response | StoppedError) -> None:
        """Tell everybody who waits, once."""
        if not self.verdict.done():
            self.verdict.set_result(verdict)


class Group:
    """Waiting requests that one call may answer, the oldest first."""

    __slots__ = ("key", "members")

    def __init__(self, key: Hashable | None) -> None:
        self.key = key
        self.members: list[Pending] = []


class Waiting:
    """Requests that wait, a queue a kind: a call of the model takes only one kind.

    Args:
        together: Which requests belong into one call; None where each is for itself.
    """

    def __init__(self, together: Together | None = None) -> None:
        self._together = together
        self._queues: dict[str, deque[Group]] = {}
        #: Groups that wait and have room for more, by their keys.
        self._open: dict[Hashable, Group] = {}
        self._count = 0

    def append(self, pending: Pending) -> None:
        """Queue a new request."""
        pending.number = self._count
        self._count += 1
        key = self._key(pending)
        if (group := self._with_room(key)) is None:
            group = self._new_group(key)
            self._queue(pending).append(group)
        group.members.append(pending)

    def put_back(self, batch: Sequence[Pending]) -> None:
        """Queue requests again, before the new ones: older samples end first."""
        for pending in reversed(batch):
            key = self._key(pending)
            if (group := self._with_room(key)) is None:
                group = self._new_group(key)
                self._queue(pending).appendleft(group)
            group.members.insert(0, pending)

    def _key(self, pending: Pending) -> Hashable | None:
        return None if self._together is None else self._together(pending.request)

    def _with_room(self, key: Hashable | None) -> Group | None:
        group = None if key is None else self._open.get(key)
        return group if group is not None and len(group.members) < MOST_TOGETHER else None

    def _new_group(self, key: Hashable | None) -> Group:
        group = Group(key)
        if key is not None:
            self._open[key] = group
        return group

    def _queue(self, pending: Pending) -> deque[Group]:
        return self._queues.setdefault(pending.request.kind, deque())

    def next_batch(self, most: int) -> list[Pending]:
        """Up to `most` requests (where requests come in groups: groups) of one kind.

        It is the kind that has waited longest.
        """
        queues = [queue for queue in self._queues.values() if queue]
        if not queues:
            return []
        queue = min(queues, key=lambda waiting: waiting[0].members[0].number)
        taken = [queue.popleft() for _ in range(min(max(1, most), len(queue)))]
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
                yield from self._members((queue.popleft(),))
