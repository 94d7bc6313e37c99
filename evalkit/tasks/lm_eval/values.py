"""Values that lm-eval computes, made fit for JSON without changing what they say."""

from __future__ import annotations

import datetime
from typing import Any


def plain(value: Any) -> Any:
    """`value` with NumPy's numbers and arrays (and dates, bytes, tensors) as Python's own."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # NumPy's texts are a subclass, which JSON does not carry
    if isinstance(value, int | float) and type(value) in (int, float):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return plain(value.tolist())
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)


def is_plain_row(value: Any) -> bool:
    """Whether a document is a mapping that JSON carries as it is."""
    return isinstance(value, dict) and is_plain(value)


def is_plain(value: Any) -> bool:
    """Whether JSON carries `value` as it is."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    return value is None or type(value) in (str, bool, int, float)
