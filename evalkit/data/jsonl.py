"""JSON Lines, plain or gzipped, read and written with the types that JSON has.

Strings stay strings, also those that look like dates; nothing is inferred.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from evalkit.errors import DataError

_decoder = msgspec.json.Decoder(dict[str, Any])


def open_bytes(path: Path) -> IO[bytes]:
    """The content of a file, unpacked where its name ends in `.gz`."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"))
    return path.open("rb")


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, one after the other; empty lines are left out.

    Raises:
        DataError: The file is missing or damaged, or a line is not a JSON object.
    """
    number = 0
    try:
        with open_bytes(path) as stream:
            for line in stream:
                number += 1
                if line.strip():
                    yield _decoder.decode(line)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}:{number}: not a JSON object ({error})") from error
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): fetch it again") from error


def write_jsonl_gz(path: Path, rows: Iterable[Any]) -> int:
    """Writes rows to a gzipped file and gives their number; same rows, same bytes.

    Times are written as ISO 8601 text and NaN as null, since JSON has neither.
    """
    encoder, count = msgspec.json.Encoder(), 0
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        for row in rows:
            stream.write(encoder.encode(row) + b"\n")
            count += 1
    return count
