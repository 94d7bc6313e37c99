"""Reads lm-eval's YAML definitions without importing lm-eval.

The same merge as lm-eval's own loader (a file's keys win over those it includes), but an
included template is parsed once, and `!function` becomes a value that can be written to disk:
`{"!function": "/folder/of/the/yaml/module.name"}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from evalkit.errors import ConfigError

FUNCTION = "!function"
_SKIPPED = {"__pycache__", ".ipynb_checkpoints"}
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader that keeps `!function` as data."""

    folder = Path()


def _function(loader: _Loader, node: yaml.ScalarNode) -> dict[str, str]:
    return {FUNCTION: str(loader.folder / str(loader.construct_scalar(node)))}


_Loader.add_constructor("!function", _function)


class Definitions:
    """Definition files with their includes merged; remembers the templates it has parsed."""

    def __init__(self) -> None:
        self._parsed: dict[Path, dict[str, Any]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """The whole definition in `path`.

        Raises:
            ConfigError: The file is not YAML, not a mapping, or includes itself or nothing.
        """
        return self._merged(path, own=True, parents=())

    def _merged(self, path: Path, own: bool, parents: tuple[Path, ...]) -> dict[str, Any]:
        if path in parents:
            raise ConfigError("includes itself", path=str(path))
        definition = dict(_parse(path) if own else self._template(path))
        includes = definition.pop("include", None)
        if includes is None:
            return definition
        merged: dict[str, Any] = {}
        for name in includes if isinstance(includes, list) else [includes]:
            included = self._merged((path.parent / name).resolve(), False, (*parents, path))
            merged |= {key: value for key, value in included.items() if key != "task_list"}
        return merged | definition

    def _template(self, path: Path) -> dict[str, Any]:
        if path not in self._parsed:
            self._parsed[path] = _parse(path)
        return self._parsed[path]


def definition_files(root: Path) -> Iterator[Path]:
    """All `.yaml` files under `root` in the order in which lm-eval reads them."""
    found = (path for path in root.glob("**/*.yaml") if _SKIPPED.isdisjoint(path.parts))
    yield from sorted(found, key=lambda path: path.as_posix())


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            loader = _Loader(file)
            loader.folder = path.parent
            definition = loader.get_single_data()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else 0
        raise ConfigError(f"is not YAML: {problem}", path=str(path), line=line) from None
    if not isinstance(definition, dict):
        raise ConfigError("is not a mapping of keys", path=str(path), line=1)
    return definition
