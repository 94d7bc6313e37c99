"""What the header of a GGUF file says, read without the weights.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from evalkit.errors import InputError

_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
#: No key or architecture name is longer; what claims to be is not a GGUF file.
_LONGEST_NAME = 1 << 16


def context_length(path: Path) -> int:
    """The context length that the model in `path` was trained for, in tokens.

    Raises:
        InputError: It is not a GGUF file of a language model.
    """
    try:
        with path.open("rb") as stream:
            return _context_length(stream)
    except (ValueError, KeyError, struct.error, UnicodeDecodeError):
        raise InputError(f"{path} is not a GGUF file of a language model") from None


def _context_length(stream: BinaryIO) -> int:
    if stream.read(4) != b"GGUF" or _number(stream, "I") < 2:
        raise ValueError
    _number(stream, "Q")  # the number of tensors
    architecture = None
    for _ in range(_number(stream, "Q")):
        key = _text(stream)
        value = _value(stream, _number(stream, "I"))
        if key == "general.architecture":
            architecture = value
        if architecture and key == f"{architecture}.context_length":
            return int(value)
    raise ValueError


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
