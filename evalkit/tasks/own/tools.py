"""Documented functions as the tools that a provider's interface takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalkit.errors import DataError
from evalkit.records import Tool
from evalkit.scoring.call_match import plain_name

#: Names of types in benchmarks' documentation, and JSON schema's for them.
_SCHEMA_TYPES = {
    "any": "string",
    "bool": "boolean",
    "dict": "object",
    "double": "number",
    "float": "number",
    "int": "integer",
    "list": "array",
    "long": "integer",
    "tuple": "array",
}
_KNOWN = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_tools(value: Any, task: str) -> tuple[Tool, ...]:
    """The tools that a row documents: a list of name, description and parameters.

    Raises:
        DataError: It is not such a list, or a name cannot be made one that providers take.
    """
    functions = [value] if isinstance(value, Mapping) else value
    if not isinstance(functions, (list, tuple)) or not all(map(_is_function, functions)):
        raise DataError(
            f"Task {task!r}: its tools must be a list of objects with name and parameters"
        )
    return tuple(_tool(function, task) for function in functions)


def _is_function(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("name"), str)


def _tool(function: Mapping[str, Any], task: str) -> Tool:
    name = plain_name(function["name"])
    if not _NAME.fullmatch(name):
        raise DataError(f"Task {task!r}: {function['name']!r} is not a name that providers take")
    return Tool(
        name=name,
        description=str(function.get("description", "")),
        parameters=_schema(function.get("parameters") or {"type": "object", "properties": {}}),
    )


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema out of one that names types as Python does."""
    made = dict(schema)
    if "type" in made:
        made["type"] = _type(str(made["type"]))
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: _schema(inner) for name, inner in made["properties"].items()}
    if isinstance(made.get("items"), Mapping):
        made["items"] = _schema(made["items"])
    return made


def _type(name: str) -> str:
    lowered = name.lower()
    return lowered if lowered in _KNOWN else _SCHEMA_TYPES.get(lowered, "string")
