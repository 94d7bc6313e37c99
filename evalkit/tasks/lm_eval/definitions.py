"""Reads lm-eval's YAML definitions without importing lm-eval.

The same merge as lm-eval's own loader (a file's keys win over those it includes), but an
included template is parsed once, and `!function` becomes a value that can be written to disk:
`{"!function": "/folder/of/the/yaml/module.name"}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from evalkit.errors import ConfigError

FUNCTION = "!function"
#: How `generation_kwargs` name the limit of an answer, and lm-eval's own where none is stated
#: (`lm_eval.defaults`).
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
DEFAULT_MAX_TOKENS = 256
#: Room for a chat model that is asked for a letter and thinks aloud first; what runs into it is
#: counted as truncated.
LETTER_MAX_TOKENS = 1024
_SKIPPED = {"__pycache__", ".ipynb_checkpoints"}
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader that keeps `!function` as data."""

    folder = Path()


def _function(loader: _Loader, node: yaml.ScalarNode) -> dict[str, str]:
    return {FUNCTION: str(loader.folder / str(loader.construct_scalar(node)))}


_Loader.add_constructor("!function", _function)


def read_definition(path: Path, parents: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The whole definition in `path`, its includes merged; the files behind `parents` include it.

    Raises:
        ConfigError: The file is not YAML, not a mapping, or includes itself or nothing.
    """
    if path in parents:
        raise ConfigError("includes itself", path=str(path))
    # most files are read once, templates by all that include them
    definition = dict(_remembered(path) if parents else _parse(path))
    includes = definition.pop("include", None)
    if includes is None:
        return definition
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        included = read_definition((path.parent / name).resolve(), (*parents, path))
        merged |= {key: value for key, value in included.items() if key != "task_list"}
    return merged | definition


def definition_files(root: Path) -> Iterator[Path]:
    """All `.yaml` files under `root` in the order in which lm-eval reads them."""
    found = (path for path in root.glob("**/*.yaml") if _SKIPPED.isdisjoint(path.parts))
    yield from sorted(found, key=lambda path: path.as_posix())


def _remembered(path: Path) -> dict[str, Any]:
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=str(path)) from None
    return _parsed_once(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)
def _parsed_once(path: Path, _mtime: int, _size: int) -> dict[str, Any]:
    return _parse(path)


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
