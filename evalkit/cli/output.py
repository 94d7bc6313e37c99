"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: Any) -> None:
    """Print `value` as indented JSON on standard output."""
    encoded = msgspec.json.encode(value, enc_hook=str, order="deterministic")
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def print_error(error: Exception, as_json: bool) -> None:
    """Say what went wrong: one sentence on standard error, or a JSON object."""
    if as_json:
        print_json({"error": type(error).__name__, "message": str(error)})
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text.assemble(("Error: ", "bold red"), str(error)))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of plain text cells; a column whose name ends in '>' is aligned right."""
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        show_header=any(columns),
    )
    for column in columns:
        right = column.endswith(">")
        made.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output, as wide as the terminal (or 160 in a pipe)."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table(title, columns, rows))


def print_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print many rows in plain columns: Rich takes half a millisecond a row, this a hundredth."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    )
    sys.stdout.write("\n".join(lines) + "\n")
