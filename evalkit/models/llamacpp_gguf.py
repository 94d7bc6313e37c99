"""What the header of a GGUF file says, read without the weights.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from evalkit.errors import InputError
from evalkit.records import Record

_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
#: No key or architecture name is longer; what claims to be is not a GGUF file.
_LONGEST_NAME = 1 << 16


class GgufHeader(Record, frozen=True, kw_only=True):
    """What is needed of a header.

    Args:
        context_length: What the model was trained for, in tokens.
        head_length: The values of one key of one attention head; 0 where it is not said or differs.
        matrix_types: The types (ggml's numbers) of all tensors of two dimensions and more.
        whole: Whether the file holds all tensors of the model.
    """

    context_length: int
    head_length: int
    matrix_types: frozenset[int]
    whole: bool


def read_header(path: Path) -> GgufHeader:
    """The header of the model in `path`.

    Raises:
        InputError: It is not a GGUF file of a language model.
    """
    try:
        with path.open("rb") as stream:
            return _header(stream)
    except (ValueError, KeyError, struct.error, UnicodeDecodeError):
        raise InputError(f"{path} is not a GGUF file of a language model") from None


def _header(stream: BinaryIO) -> GgufHeader:
    if stream.read(4) != b"GGUF" or _number(stream, "I") < 2:
        raise ValueError
    tensors, entries = _number(stream, "Q"), _number(stream, "Q")
    known = {}
    for _ in range(entries):
        key = _text(stream)
        known[key] = _value(stream, _number(stream, "I"))
    own = f"{known['general.architecture']}."
    width, heads = known.get(f"{own}embedding_length"), known.get(f"{own}attention.head_count")
    return GgufHeader(
        context_length=int(known[f"{own}context_length"]),
        head_length=known.get(f"{own}attention.key_length")
        or (width // heads if width and heads else 0),
        matrix_types=frozenset(_matrix_types(stream, tensors)),
        whole=(known.get("split.count") or 1) == 1,
    )


def _matrix_types(stream: BinaryIO, tensors: int) -> Iterator[int]:
    for _ in range(tensors):
        _text(stream)
        dimensions = _number(stream, "I")
        stream.seek(8 * dimensions, 1)
        kind = _number(stream, "I")
        stream.seek(8, 1)  # where its data begins
        if dimensions > 1:
            yield kind


def _value(stream: BinaryIO, kind: int) -> Any:
    """The next value; of arrays and long strings nothing is kept."""
    if kind == _ARRAY:
        item, count = _number(stream, "I"), _number(stream, "Q")
        if item in _FIXED:
            stream.seek(struct.calcsize(_FIXED[item]) * count, 1)
            return None
        for _ in range(count):
            _value(stream, item)
        return None
    if kind == _STRING:
        return _text(stream)
    return _number(stream, _FIXED[kind])


def _text(stream: BinaryIO) -> str:
    size = _number(stream, "Q")
    if size > _LONGEST_NAME:
        stream.seek(size, 1)
        return ""
    return stream.read(size).decode()


def _number(stream: BinaryIO, code: str) -> Any:
    return struct.unpack(f"<{code}", stream.read(struct.calcsize(f"<{code}")))[0]
