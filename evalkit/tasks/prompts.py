"""Prompts rendered from Jinja templates, in a sandbox.

Templates come from definitions, rows from data sets: a template can call no function of a row,
reach no private attribute and change nothing, and a name that a row lacks is an error instead
of empty text. Rows are data: braces in them are never read as templates.
"""

from __future__ import annotations

import functools
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalkit.errors import ConfigError, DataError


class Template:
    """A compiled template; `where` says whose it is, in errors."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        try:
            self._compiled = _environment().from_string(text)
        except TemplateError as error:
            raise ConfigError(f"{where} is not a Jinja template: {_reason(error)}") from None
        plain = not any(mark in text for mark in ("{{", "{%", "{#"))
        self._fixed: str | None = self._compiled.render() if plain else None

    def render(self, row: Mapping[str, Any], **more: Any) -> str:
        """The text for `row`; `more` are further names, which win over the row's fields.

        Raises:
            DataError: The template uses a field that the row lacks, or cannot use its value.
        """
        if self._fixed is not None:
            return self._fixed
        try:
            return self._compiled.render({**row, "row": row, **more})
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"{self.where} cannot be rendered: {_reason(error)}") from None


class Condition:
    """A compiled Jinja expression that is true or false of a row."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        try:
            self._compiled = _environment().compile_expression(text, undefined_to_none=False)
        except TemplateError as error:
            raise ConfigError(f"{where} is not a Jinja expression: {_reason(error)}") from None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it is true of `row`.

        Raises:
            DataError: It uses a field that the row lacks.
        """
        try:
            return bool(self._compiled({**row, "row": row}))
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"{self.where} cannot be decided: {_reason(error)}") from None


class Value:
    """What a definition takes out of a row: a field as it is, or a template's text.

    A text with braces is a template; without, it names a field, with dots for fields inside.
    """

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self._template = Template(text, where) if "{{" in text or "{%" in text else None

    def of(self, row: Mapping[str, Any]) -> Any:
        """The value for `row`.

        Raises:
            DataError: The row lacks the field, or the template cannot be rendered.
        """
        if self._template is not None:
            return self._template.render(row)
        value: Any = row
        for name in self.text.split("."):
            value = self._inside(value, name)
        return value

    def _inside(self, value: Any, name: str) -> Any:
        if isinstance(value, Mapping) and name in value:
            return value[name]
        if isinstance(value, Sequence) and name.isdigit() and int(name) < len(value):
            return value[int(name)]
        known = f"; it has {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
        raise DataError(f"{self.where}: the row has no field {self.text!r}{known}")


def letter(index: int) -> str:
    """The letter that stands before the choice at `index`: A, B, C, ..."""
    return string.ascii_uppercase[index]


def as_text(value: Any) -> str:
    """A value as a prompt shows it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _grid(rows: Sequence[Sequence[Any]], separator: str = " ") -> str:
    """A grid in lines, its cells apart by `separator`."""
    return "\n".join(separator.join(str(cell) for cell in row) for row in rows)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=0,
    )
    environment.filters.update(json=_json, grid=_grid, letter=letter)
    environment.globals = {"range": environment.globals["range"], "letter": letter}
    return environment


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    line = getattr(error, "lineno", None)
    return f"{text} (line {line} of the template)" if line else text
