"""The rows of a task: of its source joined and filtered, each made when it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from evalkit.data.options import DataOptions
from evalkit.data.source import RowSource, load_rows
from evalkit.errors import DataError
from evalkit.records import content_hash
from evalkit.tasks.lm_eval.values import plain
from evalkit.tasks.own.definition import Join, TaskDefinition
from evalkit.tasks.prompts import Condition

Row = dict[str, Any]


class TaskRows(Protocol):
    """Rows by position, and what names them."""

    fingerprint: str

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> Row:
        """The row at a place."""
        ...


class RowsByIndex:
    """`size` rows that a function makes from their index: nothing is kept."""

    def __init__(self, size: int, make: Callable[[int], Row], fingerprint: str) -> None:
        self._size, self._make, self.fingerprint = size, make, fingerprint

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int, /) -> Row:
        if not 0 <= index < self._size:
            raise IndexError(f"row {index} of {self._size}")
        return self._make(index)


def source_rows(definition: TaskDefinition, data: DataOptions, base: Path) -> TaskRows:
    """The rows of a definition's source, with joined fields, that its condition keeps.

    Raises:
        DataError: They cannot be had, a join finds no partner, or none is left.
    """
    assert definition.source is not None, "a declarative definition has a source"
    rows: TaskRows = loaded(definition.source, data, base)
    if definition.join:
        rows = _joined(rows, definition.join, data, base)
    if definition.where:
        rows = _kept(rows, Condition(definition.where, f"{definition.name}: 'where'"))
    if not len(rows):
        kept = f" for which {definition.where!r} holds" if definition.where else ""
        raise DataError(f"Task {definition.name!r}: its source has no rows{kept}")
    return rows


def loaded(source: RowSource, data: DataOptions, base: Path) -> TaskRows:
    """The rows of a source, as plain JSON values (a hub's rows may hold dates or arrays)."""
    rows = load_rows(source, data, base)

    def make(index: int) -> Row:
        row: Row = plain(rows[index])
        return row

    return RowsByIndex(len(rows), make, rows.fingerprint)


def _joined(rows: TaskRows, join: Join, data: DataOptions, base: Path) -> TaskRows:
    others = loaded(join.source, data, base)
    place = {_key(row, join.by): index for index, row in enumerate(each(others))}

    def make(index: int) -> Row:
        row = rows[index]
        key = _key(row, join.by)
        if key not in place:
            raise DataError(f"The joined source has no row whose {join.by!r} is {key!r}")
        return {**others[place[key]], **row}

    fingerprint = content_hash(rows.fingerprint, others.fingerprint, join.by)
    return RowsByIndex(len(rows), make, fingerprint)


def _key(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise DataError(f"A join needs the field {name!r}; the row has {', '.join(row)}")
    return row[name]


def _kept(rows: TaskRows, condition: Condition) -> TaskRows:
    kept = array("Q", (index for index, row in enumerate(each(rows)) if condition.holds(row)))
    fingerprint = content_hash(rows.fingerprint, condition.text)
    return RowsByIndex(len(kept), lambda index: rows[kept[index]], fingerprint)


def each(rows: TaskRows) -> Iterator[Row]:
    """All rows in order."""
    return (rows[index] for index in range(len(rows)))


def inline_rows(rows: Sequence[Row]) -> TaskRows:
    """Rows that stand in the definition itself."""
    return RowsByIndex(len(rows), lambda index: dict(rows[index]), content_hash(rows))
