"""Python's search for cyclic garbage, put off while a command starts.

Importing makes half a million objects and hardly any garbage; looking through them again and
again takes a tenth of the time to the first request.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects before a search, searches before one of older objects, and so on.
_EASED = (100_000, 50, 50)
_USUAL = gc.get_threshold()


@contextmanager
def eased() -> Iterator[None]:
    """Within it the collector seldom runs; afterwards it does what it did before."""
    before = gc.get_threshold()
    gc.set_threshold(*_EASED)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def settle() -> None:
    """The start is over: collect as usual, but never again look at what is there by now."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
