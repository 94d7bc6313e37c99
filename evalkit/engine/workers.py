"""Threads for what must stay off the event loop: building samples, heavy scoring."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Workers:
    """Runs functions in `threads` threads, first come, first served.

    Unlike an executor its threads do not hold the process at exit, so that Ctrl-C ends even
    a run that is loading a data set; and results that are ready together wake the event
    loop once.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, Exception | None]] = deque()
        self._waking = threading.Lock()
        self._awake = False
        self._threads = threads
        for number in range(threads):
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True).start()

    def run(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> asyncio.Future[Result]:
        """What `function` returns or raises, once a thread has run it."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._work.put((future, function, args, kwargs))
        return future

    def close(self) -> None:
        """Let the threads end when they are done with what they have begun."""
        for _ in range(self._threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            future, function, args, kwargs = item
            if future.cancelled():
                continue
            try:
                self._done.append((future, function(*args, **kwargs), None))
            except BaseException as error:
                self._done.append((future, None, _portable(error)))
            self._wake()

    def _wake(self) -> None:
        with self._waking:
            if self._awake:
                return
            self._awake = True
        with suppress(RuntimeError):  # the loop was closed: nobody waits for the result
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._waking:
            self._awake = False
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _portable(error: BaseException) -> Exception:
    """`error`, or one that says the same where no future can carry it, or it would end the loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    portable = RuntimeError(f"{type(error).__name__}: {error}")
    portable.__cause__ = error
    return portable
