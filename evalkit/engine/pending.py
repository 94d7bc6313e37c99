"""Requests on their way to one model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.errors import StoppedError
from evalkit.records import Request, Response


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


class Waiting:
    """Requests that wait, a queue a kind: a call of the model takes only one kind."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Pending]] = {}
        self._count = 0

    def append(self, pending: Pending) -> None:
        """Queue a new request."""
        pending.number = self._count
        self._count += 1
        self._queue(pending).append(pending)

    def put_back(self, pending: Pending) -> None:
        """Queue a request again, before the new ones: older samples end first."""
        self._queue(pending).appendleft(pending)

    def _queue(self, pending: Pending) -> deque[Pending]:
        return self._queues.setdefault(pending.request.kind, deque())

    def next_batch(self, most: int) -> list[Pending]:
        """Up to `most` requests of the kind that has waited longest."""
        queues = [queue for queue in self._queues.values() if queue]
        if not queues:
            return []
        queue = min(queues, key=lambda waiting: waiting[0].number)
        return [queue.popleft() for _ in range(min(max(1, most), len(queue)))]

    def drain(self) -> Iterator[Pending]:
        """Take everything out."""
        for queue in self._queues.values():
            while queue:
                yield queue.popleft()
