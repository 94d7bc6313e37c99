"""Rows of a data set, read from Arrow as they are wanted and never all held at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

#: Rows turned into Python's objects at a time: the most, and about how many bytes of them.
_BLOCK_ROWS, _BLOCK_BYTES = 64, 256_000


class RowReader:
    """Reads rows mostly in their order, a block at a time: a row alone takes ten times as long.

    Each row is given away once, so that what a task writes into it is seen by nobody else; a row
    that is wanted again is read again.

    Args:
        docs: A `datasets.Dataset`, or a list, whose own rows are given.
    """

    def __init__(self, docs: Any) -> None:
        self._docs, self._block = docs, dict[int, Any]()
        self._rows = _block_rows(docs)

    def __getitem__(self, index: int) -> Any:
        if self._rows < 2:
            return self._docs[index]
        if index not in self._block:
            self._block = dict(enumerate(_rows(self._docs, index, index + self._rows), index))
        return self._block.pop(index)


class Pool(Sequence[Any]):
    """The rows that worked examples are drawn from, in place of lm-eval's list of all of them.

    Args:
        docs: A `datasets.Dataset`.
    """

    def __init__(self, docs: Any) -> None:
        self.docs = docs

    def __len__(self) -> int:
        return len(self.docs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.docs[place] for place in range(*index.indices(len(self)))]
        return self.docs[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.docs)


def _block_rows(docs: Any) -> int:
    """How many rows of `docs` to read at a time; 0 where they are Python's objects already."""
    data = getattr(docs, "data", None)
    if data is None or not hasattr(docs, "with_format") or docs.format["type"] is not None:
        return 0
    row_bytes = int(data.nbytes) / max(1, len(data))
    return min(_BLOCK_ROWS, max(1, int(_BLOCK_BYTES / max(1.0, row_bytes))))


def _rows(docs: Any, start: int, stop: int) -> list[Any]:
    columns = docs[start : min(stop, len(docs))]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
