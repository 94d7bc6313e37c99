"""Lets libraries that call `datasets.load_dataset` read what evalkit would.

The redirection holds for the calling thread (and what it starts with its context) alone: other
threads go on as if nothing happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple

from evalkit.data.hub import Origin, load
from evalkit.data.options import DataOptions


class _Redirection(NamedTuple):
    options: DataOptions
    origins: list[Origin]


_current: ContextVar[_Redirection | None] = ContextVar("evalkit_redirection", default=None)
_lock = threading.Lock()
_depth = 0
_original: Callable[..., Any] | None = None


@contextmanager
def redirected(options: DataOptions) -> Iterator[list[Origin]]:
    """Within the block `datasets.load_dataset` is ours.

    Yields:
        A list that grows by one origin with every data set that is loaded.
    """
    origins: list[Origin] = []
    _install()
    token = _current.set(_Redirection(options, origins))
    try:
        yield origins
    finally:
        _current.reset(token)
        _uninstall()


def _install() -> None:
    global _depth, _original
    import datasets

    with _lock:
        if _depth == 0:
            _original = datasets.load_dataset
            datasets.load_dataset = _dispatcher(_original)
        _depth += 1


def _uninstall() -> None:
    global _depth
    import datasets

    with _lock:
        _depth -= 1
        if _depth == 0:
            datasets.load_dataset = _original


def _dispatcher(original: Callable[..., Any]) -> Callable[..., Any]:
    # modules imported within the block keep this function for ever (`from datasets import
    # load_dataset`), so outside of one it must still be the original
    @wraps(original)
    def load_dataset(path: str, name: str | None = None, *rest: Any, **named: Any) -> Any:
        redirection = _current.get()
        if redirection is None:
            return original(path, name, *rest, **named)
        named.update(zip(("data_dir", "data_files", "split", "cache_dir"), rest, strict=False))
        loaded = load(path, name, options=redirection.options, **named)
        redirection.origins.append(loaded.origin)
        return loaded.data

    return load_dataset
