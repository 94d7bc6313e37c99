"""Filling a mirror: each split fetched once, pinned to a commit, with its checksum and licence.

A pull that is broken off goes on where it stopped: a split is placed whole, then named in the
manifest, and what the manifest names and is intact is not fetched again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from evalkit.data.files import locked, placed, sha256_of
from evalkit.data.jsonl import write_jsonl_gz
from evalkit.data.mirror import (
    DEFAULT,
    ENDING,
    MANIFEST,
    MirrorEntry,
    checked_part,
    config_of_file,
    dataset_folder,
    folder_name,
    hub_file,
    read_manifest,
)
from evalkit.data.options import DataOptions
from evalkit.data.query import BUILDERS
from evalkit.data.upstream import Upstream, fetch_upstream
from evalkit.errors import DataError
from evalkit.records import Record


class DatasetRef(Record, frozen=True, kw_only=True):
    """A data set that tasks need.

    Args:
        path: Its name on the hub, or a builder (`json`, `csv`) for `data_files` on the hub.
        config: Its config; None for the default one.
        splits: The splits that are needed; none for all.
        revision: The hub's commit, tag or branch; empty for its newest.
        data_files: The file of each split, where tasks name files.
        arguments: What else `load_dataset` is given (`column_names`, `header`, ...).
    """

    path: str
    config: str | None = None
    splits: tuple[str, ...] = ()
    revision: str = ""
    data_files: dict[str, str] = {}
    arguments: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """How messages and tables name it."""
        if self.path in BUILDERS:
            return next(iter(self.data_files.values()), self.path)
        return f"{self.path}:{self.config}" if self.config else self.path


PullState = Literal["fetched", "present", "gated", "failed"]


class PullResult(Record, frozen=True, kw_only=True):
    """What became of one reference; `files` are paths in the mirror, `error` one sentence."""

    ref: DatasetRef
    state: PullState
    files: tuple[str, ...] = ()
    rows: int = 0
    bytes: int = 0
    error: str = ""


class Fetch(Protocol):
    """How a data set is had: the network, as an argument."""

    def __call__(self, ref: DatasetRef, options: DataOptions) -> Upstream:
        """The data set, its commit and its licence.

        Raises:
            DataError: It cannot be had.
        """
        ...


def pull(
    refs: Iterable[DatasetRef],
    into: Path,
    options: DataOptions,
    progress: Callable[[PullResult], None] = lambda result: None,
    fetch: Fetch | None = None,
) -> list[PullResult]:
    """Fills a mirror with data sets; one that fails does not stop the others.

    Args:
        refs: What to fetch.
        into: The mirror's folder, made if it is missing.
        options: Offline is refused; its mirror is not read.
        progress: Called with each result as it comes.
        fetch: How to get a data set; None asks the hub.

    Raises:
        DataError: evalkit is offline, or the folder cannot hold a mirror.
    """
    if options.offline:
        raise DataError("`data pull` needs the network, and evalkit is offline")
    (into / "hub").mkdir(parents=True, exist_ok=True)
    results = []
    for ref in refs:
        result = _pulled(ref, into, options, fetch or _from_hub)
        progress(result)
        results.append(result)
    return results


def files_of(ref: DatasetRef) -> dict[str, str]:
    """The path in a mirror of each split that a reference names.

    Raises:
        DataError: A name is not fit for a path.
    """
    if not ref.data_files:
        return {split: _split_path(ref, ref.config or DEFAULT, split) for split in ref.splits}
    return {split: _data_file_path(ref, split, file) for split, file in ref.data_files.items()}


def _from_hub(ref: DatasetRef, options: DataOptions) -> Upstream:
    return fetch_upstream(
        ref.path, ref.config, ref.splits, ref.revision, ref.data_files, ref.arguments, options
    )


def _pulled(ref: DatasetRef, into: Path, options: DataOptions, fetch: Fetch) -> PullResult:
    try:
        wanted = files_of(ref)
        if wanted and all(_intact(into, path) for path in wanted.values()):
            return PullResult(ref=ref, state="present", files=tuple(wanted.values()))
        upstream = fetch(ref, options)
        entries = [_write(ref, into, split, upstream) for split in upstream.splits]
    except DataError as error:
        state: PullState = "gated" if " is gated" in str(error) else "failed"
        return PullResult(ref=ref, state=state, error=str(error))
    return PullResult(
        ref=ref,
        state="fetched",
        files=tuple(entry.path for entry in entries),
        rows=sum(entry.rows for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
    )


def _intact(into: Path, path: str) -> bool:
    entry = read_manifest(into).get(path)
    return entry is not None and (into / path).is_file() and sha256_of(into / path) == entry.sha256


def _write(ref: DatasetRef, into: Path, split: str, upstream: Upstream) -> MirrorEntry:
    path = files_of(ref).get(split) or _split_path(ref, ref.config or DEFAULT, split)
    with placed(into / path) as draft:
        rows = write_jsonl_gz(draft, upstream.splits[split])
    parts = Path(path).parts
    entry = MirrorEntry(
        path=path,
        sha256=sha256_of(into / path),
        name=parts[-3],
        hf_path="/".join(parts[1:-2]),
        config=parts[-2],
        split=split,
        rows=rows,
        bytes=(into / path).stat().st_size,
        license=upstream.licence,
        source_repo=upstream.source,
        source_path=ref.data_files.get(split, ""),
        source_commit=upstream.commit,
        features=upstream.features(split),
    )
    _note(into, entry)
    return entry


def _note(into: Path, entry: MirrorEntry) -> None:
    """Puts a file's line into the manifest, in place of an older one; keeps all other lines."""
    manifest = into / MANIFEST
    with locked(manifest):
        lines = manifest.read_bytes().splitlines() if manifest.is_file() else []
        kept = [line for line in lines if line.strip() and _path_of(line) != entry.path]
        with placed(manifest) as draft:
            draft.write_bytes(b"\n".join([*kept, msgspec.json.encode(entry)]) + b"\n")


class _Line(msgspec.Struct):
    path: str


def _path_of(line: bytes) -> str:
    return msgspec.json.decode(line, type=_Line).path


def _split_path(ref: DatasetRef, config: str, split: str) -> str:
    folder = dataset_folder(ref.path)
    return f"hub/{folder}/{folder_name(config)}/{checked_part(split)}{ENDING}"


def _data_file_path(ref: DatasetRef, split: str, file: str) -> str:
    place = hub_file(file) if ref.path in BUILDERS else (ref.path, file)
    if place is None:
        raise DataError(f"The data file {file!r} is not on the hub, so no mirror can stand for it")
    dataset, inside = place
    folder = folder_name(config_of_file(inside))
    return f"hub/{dataset_folder(dataset)}/{folder}/{checked_part(split)}{ENDING}"
