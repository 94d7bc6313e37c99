"""Data sets out of a mirror, in the shapes that `datasets.load_dataset` gives."""

from __future__ import annotations

import hashlib
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

from evalkit.data.arrow import arrow_dataset
from evalkit.data.mirror import Mirror, MirrorFile
from evalkit.errors import DataError


def mirrored_splits(
    files: dict[str, Path], mirror: Mirror, cache: Path
) -> tuple[dict[str, Any], dict[str, MirrorFile]]:
    """Each split as a `datasets.Dataset`, and the checked file that it came from."""
    checked = {split: mirror.verified(path) for split, path in files.items()}
    rows = {
        split: arrow_dataset(Path(file.path), file.sha256, cache, split, file.features)
        for split, file in checked.items()
    }
    return rows, checked


def joint_fingerprint(hashes: dict[str, str]) -> str:
    """One SHA-256 for the files behind several splits; the file's own where there is one."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    text = "".join(f"{split} {value}\n" for split, value in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def shaped(splits: dict[str, Any], dataset: str, split: Any, streaming: bool) -> Any:
    """The splits as `split` asks for them: all in a `DatasetDict`, one, a slice, or a list.

    Raises:
        DataError: `split` names a split that is not there, or is not written right.
    """
    if isinstance(split, list | tuple):
        return [shaped(splits, dataset, each, streaming) for each in split]
    if split is None:
        rows = {name: _streamed(part, streaming) for name, part in splits.items()}
        return _iterable_dict(rows) if streaming else _splits_class()(rows, dataset)
    return _streamed(_selected(splits, dataset, str(split)), streaming)


def _selected(splits: dict[str, Any], dataset: str, spec: str) -> Any:
    import datasets

    if spec in splits:
        return splits[spec]
    if spec == "all":
        return datasets.concatenate_datasets(list(splits.values()))
    sizes = {name: len(rows) for name, rows in splits.items()}
    try:
        parts = datasets.ReadInstruction.from_spec(spec).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise DataError(
            f"Split {spec!r} of dataset {dataset!r} is not written as test, test[:10] or train+test"
        ) from error
    rows = [splits[p.splitname].select(range(p.from_, p.to)) for p in parts]
    return reduce(lambda one, other: datasets.concatenate_datasets([one, other]), rows)


def _streamed(rows: Any, streaming: bool) -> Any:
    return rows.to_iterable_dataset() if streaming else rows


def _iterable_dict(rows: dict[str, Any]) -> Any:
    import datasets

    return datasets.IterableDatasetDict(rows)


@lru_cache(maxsize=1)
def _splits_class() -> Any:
    """A `DatasetDict` that says what a mirror lacks, where a plain one raises a bare KeyError."""
    import datasets

    class MirroredSplits(datasets.DatasetDict):  # type: ignore[misc]  # datasets ships no types
        def __init__(self, rows: dict[str, Any], dataset: str) -> None:
            super().__init__(rows)
            self._dataset = dataset

        def __missing__(self, split: str) -> Any:
            raise DataError(
                f"The mirror has no split {str(split)!r} of dataset {self._dataset!r}: "
                f"it has {', '.join(self)}"
            )

    return MirroredSplits
