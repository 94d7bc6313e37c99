"""Ctrl-C in two steps: the first ends a run in good order, the second at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """Call `first` at the first Ctrl-C (or SIGTERM) and `second` at every later one.

    Signals reach only the main thread; elsewhere (a notebook's thread) nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    steps = iter((first,))
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, lambda: next(steps, second)())
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # None: a handler that was not set from Python, and that cannot be set back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
