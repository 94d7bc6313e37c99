"""Modules that are loaded when something in them is used, not when they are imported.

For what a library imports at its top and hardly ever uses. Such a module is whole as soon as
any attribute of it is looked at (`importlib.util.LazyLoader`), so nothing works differently;
only an error in loading it would come later. Not for modules that several threads may come to use
first at the same moment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


@contextmanager
def deferred(names: Sequence[str]) -> Iterator[None]:
    """Within it, importing one of the top-level modules `names` puts off loading it."""
    finder = _Finder(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder:
    """Finds the named modules as usual, and has them loaded late."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's specification; None, for others to find it, where it is not ours."""
        found = PathFinder.find_spec(name, path, target) if name in self._names else None
        if found is not None and found.loader is not None:
            found.loader = LazyLoader(found.loader)
        return found
