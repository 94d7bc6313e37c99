"""Modules that are loaded when something in them is used, not when they are imported.

For what a library imports at its top and hardly ever uses. Such a module is whole as soon as a
name in it is looked up, so that nothing works differently; only an error in loading it would
come later. Unlike `importlib.util.LazyLoader` (before Python 3.12) several threads may be the first
to use it: all but one wait.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


@contextmanager
def deferred(names: Sequence[str]) -> Iterator[None]:
    """Within it, importing one of the modules `names` puts off loading it."""
    finder: Any = _Finder(frozenset(names))
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
            found.loader = _Late(found.loader)
        return found


class _Late(Loader):
    """Makes a module now, and has `loader` fill it when a name is missing."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LateModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        assert isinstance(module, _LateModule)
        module.__dict__["_evalkit_waiting"] = _Waiting(self._loader)


class _Waiting:
    """What fills a module, and who is filling it."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.lock, self.begun = loader, threading.RLock(), False


class _LateModule(ModuleType):
    """A module that is filled when a name is missing."""

    def __getattr__(self, name: str) -> Any:
        self._fill()
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        self._fill()
        return list(self.__dict__)

    def _fill(self) -> None:
        waiting = self.__dict__.get("_evalkit_waiting")
        if waiting is None:
            return
        with waiting.lock:  # held while the module is filled, by a thread that may come back here
            if waiting.begun:
                return
            waiting.begun = True
            spec = self.__spec__
            assert spec is not None
            spec.loader = self.__loader__ = waiting.loader
            try:
                waiting.loader.exec_module(self)
            except BaseException:
                waiting.begun = False
                raise
            self.__dict__.pop("_evalkit_waiting", None)
