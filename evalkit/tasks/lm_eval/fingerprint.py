"""A hash of everything that defines a task's prompts and scores."""

from __future__ import annotations

import hashlib
import inspect
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evalkit.records import content_hash
from evalkit.tasks.protocol import Prompting

#: Raised whenever this adapter changes a prompt or a score.
_ADAPTER = 1


def fingerprint(task: Any, prompting: Prompting, mode: str) -> str:
    """The hash of the resolved definition, the code behind it, lm-eval's version and the asking."""
    config = describe(dict(vars(task.config)))
    metadata = config.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("config_source", None)  # where the file lies changes nothing
    code = describe(type(task))
    return content_hash(_ADAPTER, version("lm-eval"), mode, prompting, code, config)


def describe(value: Any) -> Any:
    """`value` as JSON: functions and classes by name and by the source of their module."""
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [describe(item) for item in value]
        return items if isinstance(value, list | tuple) else sorted(items, key=repr)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, partial):
        return ["partial", describe(value.func), describe(value.args), describe(value.keywords)]
    if callable(value):
        return _describe_code(value)
    if hasattr(value, "__dict__"):
        return [type(value).__qualname__, describe(vars(value))]
    return repr(value)


def _describe_code(value: Any) -> list[str]:
    target = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
    try:
        file = inspect.getsourcefile(target) or ""
    except TypeError:  # written in C
        file = ""
    return [getattr(target, "__qualname__", repr(target)), _source_hash(file) if file else ""]


@lru_cache(maxsize=1024)
def _source_hash(file: str) -> str:
    path = Path(file)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
