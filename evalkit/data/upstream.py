"""Data sets of the hub as a mirror needs them: rows that JSON can hold, commit, licence."""

from __future__ import annotations

from typing import Any

from evalkit.data.commits import Pin, pin
from evalkit.data.hub import load
from evalkit.data.mirror import hub_file
from evalkit.data.options import DataOptions
from evalkit.data.query import BUILDERS
from evalkit.data.refusals import explained, failures
from evalkit.errors import DataError
from evalkit.records import Record


class Upstream(Record, frozen=True, kw_only=True):
    """A data set as it was fetched: iterables of rows by split, where from, under what licence."""

    splits: dict[str, Any]
    source: str
    commit: str = ""
    licence: str = "unknown"

    def features(self, split: str) -> dict[str, Any] | None:
        """The columns' types, so that a mirror gives them back; None for plain rows."""
        features = getattr(self.splits[split], "features", None)
        return dict(features.to_dict()) if features is not None else None


def fetch_upstream(
    path: str,
    config: str | None,
    splits: tuple[str, ...],
    revision: str,
    data_files: dict[str, str],
    arguments: dict[str, Any],
    options: DataOptions,
) -> Upstream:
    """A data set from the hub, pinned to the commit that its revision names today.

    Raises:
        DataError: It cannot be had, or holds what JSON cannot.
    """
    pinned = _pinned(_repository(path, data_files), revision)
    loaded = load(
        path,
        config,
        options=DataOptions(cache=options.cache),
        data_files=data_files or None,
        revision=None if path in BUILDERS else pinned.commit,
        **arguments,
    )
    wanted = _wanted(path, loaded.data, splits)
    for name, rows in wanted.items():
        _check_columns(path, name, rows)
    return Upstream(
        splits=wanted,
        source=_repository(path, data_files),
        commit=pinned.commit if path in BUILDERS else loaded.origin.fingerprint.rpartition("@")[2],
        licence=pinned.licence,
    )


def _repository(path: str, data_files: dict[str, str]) -> str:
    """The data set on the hub that holds the rows, also where a builder reads its files."""
    if path not in BUILDERS:
        return path
    places = [hub_file(file) for file in data_files.values()]
    if not places or places[0] is None:
        raise DataError(f"{list(data_files.values()) or path} does not name files on the hub")
    return places[0][0]


def _pinned(path: str, revision: str) -> Pin:
    try:
        return pin(path, revision or None)
    except failures() as error:
        raise explained(error, path, None) from error


def _wanted(path: str, data: Any, splits: tuple[str, ...]) -> dict[str, Any]:
    missing = [split for split in splits if split not in data]
    if missing:
        raise DataError(f"Dataset {path!r} has no split {missing[0]!r}: it has {', '.join(data)}")
    return {name: data[name] for name in splits or data}


def _check_columns(path: str, split: str, rows: Any) -> None:
    """Refuses columns that JSON cannot hold, such as images, before anything is written."""
    for name, feature in rows.features.items():
        if kinds := _unfit(feature, nested=False):
            raise DataError(
                f"Column {name!r} of {path!r} ({split}) holds {', '.join(sorted(kinds))} data, "
                "which a mirror of JSON Lines cannot hold"
            )


def _unfit(feature: Any, nested: bool) -> set[str]:
    """The kinds of data in a column that would not come back from JSON as they were."""
    if isinstance(feature, dict):
        return {kind for inner in feature.values() for kind in _unfit(inner, nested=True)}
    if (inner := getattr(feature, "feature", None)) is not None:
        return _unfit(inner, nested=True)
    kind, dtype = type(feature).__name__, str(getattr(feature, "dtype", ""))
    if kind in {"Image", "Audio", "Video", "Pdf", "Nifti", "Mesh"}:
        return {kind.lower()}
    if dtype.endswith("binary") or dtype.startswith(("duration", "decimal")):
        return {dtype}
    # times inside lists and records are not restored, those in columns of their own are
    return {dtype} if nested and dtype.startswith(("timestamp", "date", "time")) else set()
