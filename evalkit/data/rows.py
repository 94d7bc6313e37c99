"""Rows of a task in memory that does not grow with them, and where they came from."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import msgspec

from evalkit.errors import DataError

Row = dict[str, Any]


class Rows(Sequence[Row]):
    """Rows by their position; each is made when it is asked for.

    Args:
        source: A sequence of rows, or a `datasets.Dataset`.
        fingerprint: Changes when the rows may have.
        notes: What is to be known of them, for example that they are not the whole split.
    """

    def __init__(self, source: Any, fingerprint: str, notes: tuple[str, ...] = ()) -> None:
        self._source, self.fingerprint, self.notes = source, fingerprint, notes

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        row: Row = self._source[index % len(self)]
        return row

    def __repr__(self) -> str:
        return f"Rows({len(self)}, {self.fingerprint!r})"


class JsonLines(Sequence[Row]):
    """The rows of a plain JSON Lines file, decoded one at a time out of a memory map.

    Raises:
        DataError: A line that is asked for is not a JSON object.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._bounds = path, array("Q")
        self._map: mmap.mmap | bytes = b""
        if path.stat().st_size:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._index()

    def _index(self) -> None:
        start, size = 0, len(self._map)
        while start < size:
            end = self._map.find(b"\n", start)
            end = size if end < 0 else end
            if self._map[start:end].strip():
                self._bounds.extend((start, end))
            start = end + 1

    def __len__(self) -> int:
        return len(self._bounds) // 2

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start, end = self._bounds[2 * index], self._bounds[2 * index + 1]
        try:
            return msgspec.json.decode(self._map[start:end], type=Row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{self._path}, row {index}: not a JSON object ({error})") from error
