"""The index's entries, and the file that holds them: decoded one at a time, when asked for.

The file is one MessagePack map from names to entries. Opening it finds where each entry lies;
a run decodes the few that it names, and a listing only the first fields of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Literal

import msgspec

Kind = Literal["task", "group", "tag"]


class Line(msgspec.Struct, frozen=True, array_like=True):
    """What a listing says of a name: the first fields of its entry."""

    name: str
    kind: Kind
    title: str = ""
    category: str = ""


class Entry(Line, frozen=True, array_like=True):
    """One name of the index.

    Attributes:
        kind: `task`, `group` or `tag`.
        path: The YAML file; empty for a tag.
        members: Of a tag, its tasks in order; of a group, its `task:` list as written.
        settings: Of a group, what else its file says.
        max_tokens: What limits an answer; None where the definition does not say.
        python: Whether a Python class defines the task.
    """

    path: str = ""
    members: list[Any] = []
    settings: dict[str, Any] = {}
    version: str = ""
    output_type: str = ""
    dataset_path: str = ""
    dataset_name: str = ""
    num_fewshot: int | None = None
    max_tokens: int | None = None
    metrics: list[str] = []
    tags: list[str] = []
    python: bool = False
    unsafe_code: bool = False
    multimodal: bool = False


_decode_raw = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_decode_lines = msgspec.msgpack.Decoder(dict[str, Line]).decode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class Index(Mapping[str, Entry]):
    """Entries by name: those of a packed index, and others that win over them.

    Args:
        packed: What `pack` gave.
        others: Entries that are known already; their names come last.

    Raises:
        msgspec.DecodeError: `packed` is not a packed index.
    """

    def __init__(self, packed: bytes, others: Mapping[str, Entry] | None = None) -> None:
        self._packed, self._others = packed, dict(others or {})
        self._raw = _decode_raw(packed)
        self._read: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name in self._others:
            return self._others[name]
        if name not in self._read:
            self._read[name] = _decode_entry(self._raw[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return chain((name for name in self._raw if name not in self._others), self._others)

    def __len__(self) -> int:
        return len(self._raw.keys() | self._others.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._raw or name in self._others

    def lines(self) -> dict[str, Line]:
        """What a listing says of every name."""
        return {**_decode_lines(self._packed), **self._others}

    def over(self, others: Mapping[str, Entry]) -> Index:
        """This index with `others` put over it."""
        return Index(self._packed, {**self._others, **others})


def pack(entries: Mapping[str, Entry]) -> bytes:
    """The entries as a file holds them."""
    return msgspec.msgpack.encode(dict(entries))
