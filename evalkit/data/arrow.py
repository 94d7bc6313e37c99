"""JSON Lines turned into Arrow files, once: later loads are a memory map.

The loader of `datasets` for JSON is not used: it turns strings that look like dates into
timestamps, and fails where a column's type changes midway.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from evalkit.data.files import locked, placed
from evalkit.data.jsonl import read_jsonl
from evalkit.errors import DataError
from evalkit.records import content_hash

#: Part of each cached file's path: a new number makes all of them anew.
_VERSION = "1"
_BATCH_ROWS = 5_000


def arrow_dataset(
    path: Path, sha256: str, cache: Path, split: str, features: dict[str, Any] | None = None
) -> Any:
    """The rows of a JSON Lines file as a memory-mapped `datasets.Dataset`.

    Args:
        path: The file, plain or gzipped.
        sha256: Of the file; names its converted form.
        cache: Folder for converted files.
        split: Name of the split.
        features: The columns' types as `datasets.Features.to_dict` writes them, where known.

    Raises:
        DataError: The file is damaged, or does not fit `features`.
    """
    import datasets

    key = f"{sha256}-{content_hash(features)[:8]}" if features else sha256
    target = cache / "arrow" / f"{key}-v{_VERSION}" / "data.arrow"
    if not target.is_file():
        with locked(target):
            if not target.is_file():
                _convert(path, target, features)
    return datasets.Dataset.from_file(str(target), split=datasets.NamedSplit(split))


def _convert(path: Path, target: Path, features: dict[str, Any] | None) -> None:
    import pyarrow as pa

    schema = _declared_schema(features) if features else _inferred_schema(path)
    with (
        placed(target) as draft,
        pa.OSFile(str(draft), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for batch in _batches(path):
            try:
                columns = [_column([row.get(f.name) for row in batch], f.type) for f in schema]
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise DataError(f"{path} does not fit its declared columns: {error}") from error
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    rows = read_jsonl(path)
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield batch


def _declared_schema(features: dict[str, Any]) -> Any:
    import datasets

    return datasets.Features.from_dict(features).arrow_schema


def _inferred_schema(path: Path) -> Any:
    """The narrowest type of each column that holds all its values; JSON text where none does."""
    import datasets

    types: dict[str, Any] = {}
    for batch in _batches(path):
        names = dict.fromkeys(name for row in batch for name in row)
        for name in names:
            types[name] = _widened(types.get(name), _type_of([row.get(name) for row in batch]))
    features = {
        name: _json_feature(path, name) if kind is _MIXED else _feature(kind)
        for name, kind in types.items()
    }
    return datasets.Features(features).arrow_schema


#: Stands for a column whose values have no common Arrow type.
_MIXED = object()


def _type_of(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _MIXED


def _widened(one: Any, other: Any) -> Any:
    import pyarrow as pa

    if one is None or one is _MIXED or other is _MIXED:
        return other if one is None else _MIXED
    fields = [pa.schema([("column", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return _MIXED


def _feature(kind: Any) -> Any:
    from datasets.features.features import generate_from_arrow_type

    return generate_from_arrow_type(kind)


def _json_feature(path: Path, name: str) -> Any:
    import datasets

    if not hasattr(datasets, "Json"):
        raise DataError(
            f"Column {name!r} of {path} mixes types, which datasets {datasets.__version__} "
            "cannot hold: update it with pip install -U datasets"
        )
    return datasets.Json()


def _column(values: list[Any], kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        texts = [None if v is None else msgspec.json.encode(v).decode() for v in values]
        return pa.ExtensionArray.from_storage(kind, pa.array(texts, type=kind.storage_type))
    if pa.types.is_temporal(kind):
        return pa.array(values, type=pa.string()).cast(kind)
    return pa.array(values, type=kind)
