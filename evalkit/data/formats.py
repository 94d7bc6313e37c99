"""Files of rows: JSON Lines, JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import zlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from evalkit.data.files import locked, placed, sha256_of
from evalkit.data.jsonl import open_bytes, read_jsonl
from evalkit.data.rows import JsonLines, Row, Rows
from evalkit.errors import DataError

Format = Literal["jsonl", "json", "csv", "parquet"]

_ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}
#: Larger files are read row by row out of a memory map; packed ones grow about fivefold.
_IN_MEMORY_BYTES = {"plain": 50 << 20, "packed": 10 << 20}


def file_rows(path: Path, place: str, kind: Format | None, records: str, cache: Path) -> Rows:
    """The rows of a file.

    Args:
        path: The file; one that ends in `.gz` is unpacked.
        place: The word that the fingerprint starts with.
        kind: The format; None reads it from the name.
        records: Where the rows are inside a JSON file.
        cache: Folder for unpacked files.

    Raises:
        DataError: The file is damaged, or not of its format.
    """
    kind = kind or format_of(path)
    if records and kind != "json":
        raise DataError(f"{path.name} is {kind}: `records` is for JSON files only")
    sha256 = sha256_of(path)
    return Rows(_read(path, kind, records, sha256, cache), f"{place}:{sha256}")


def format_of(path: Path) -> Format:
    """The format that a file's name says.

    Raises:
        DataError: It says none.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in _ENDINGS:
        raise DataError(
            f"{path.name} does not say what it holds: add `format:` to the source, "
            f"one of {', '.join(sorted(set(_ENDINGS.values())))}"
        )
    return _ENDINGS[ending]


def _read(path: Path, kind: Format, records: str, sha256: str, cache: Path) -> Any:
    if kind == "json":
        return _json_rows(path, records)
    if kind == "csv":
        return _csv_rows(path)
    if kind == "parquet":
        return _parquet_rows(path)
    packed = path.suffix == ".gz"
    if path.stat().st_size <= _IN_MEMORY_BYTES["packed" if packed else "plain"]:
        return list(read_jsonl(path))
    return JsonLines(_unpacked(path, sha256, cache) if packed else path)


def _unpacked(path: Path, sha256: str, cache: Path) -> Path:
    target = cache / "unpacked" / sha256 / path.name.removesuffix(".gz")
    if target.is_file():
        return target
    with locked(target), placed(target) as draft:
        try:
            with gzip.open(path, "rb") as packed, draft.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} cannot be unpacked ({error}): fetch it again") from error
    return target


def _json_rows(path: Path, records: str) -> list[Row]:
    try:
        with open_bytes(path) as stream:
            value = msgspec.json.decode(stream.read())
    except (msgspec.DecodeError, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a JSON file ({error})") from error
    for key in records.split(".") if records else ():
        if not isinstance(value, dict) or key not in value:
            raise DataError(f"{path} has no {records!r}: there is no {key!r}{_keys(value)}")
        value = value[key]
    return _as_rows(path, records, value)


def _keys(value: Any) -> str:
    return f" among {', '.join(list(value)[:20])}" if isinstance(value, dict) else ""


def _as_rows(path: Path, records: str, value: Any) -> list[Row]:
    """A list of objects; of an object of objects each one, with its key as `id`."""
    if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        return [{"id": key, **row} for key, row in value.items()]
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    where = repr(records) if records else "the whole file"
    raise DataError(f"{path}: {where} is not a list of objects: say with `records:` where one is")


def _csv_rows(path: Path) -> list[Row]:
    try:
        with open_bytes(path) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            reader = csv.DictReader(text, strict=True)
            rows: list[Row] = []
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}:{reader.line_num}: this row has not as many fields as the header"
                    )
                rows.append(dict(row))
    except (csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a CSV file ({error})") from error
    return rows


def _parquet_rows(path: Path) -> Any:
    from datasets.load import load_dataset

    from evalkit.data.refusals import failures

    try:
        return load_dataset("parquet", data_files=[str(path)], split="train")
    except failures() as error:
        raise DataError(f"{path} is not a Parquet file") from error
