"""Data sets by their name on the hub: out of a mirror first, then from the hub itself.

`load_dataset` takes what `datasets.load_dataset` takes and gives what it gives. `load` also
says what it was that was loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from evalkit.data.commits import commit_of, pin, pinned_url
from evalkit.data.converted import load_converted
from evalkit.data.local import load_local
from evalkit.data.mirror import Mirror
from evalkit.data.mirrored import joint_fingerprint, mirrored_splits, shaped
from evalkit.data.options import DataOptions
from evalkit.data.query import BUILDERS, Query, in_mirror, mirrored
from evalkit.data.refusals import explained, failures, not_here, refuses_script
from evalkit.data.url import shown
from evalkit.errors import DataError
from evalkit.records import Record

_offline_switch = threading.RLock()


class Origin(Record, frozen=True, kw_only=True):
    """What was loaded: `fingerprint` changes when the rows may have.

    It reads `mirror:<SHA-256>`, `hub:<dataset>@<commit>` or `file:<SHA-256>`. `notes` are what
    a mirror says of files that are not the whole upstream split, and which files are not pinned.
    """

    dataset: str
    config: str = ""
    split: str = ""
    fingerprint: str
    notes: tuple[str, ...] = ()


class Loaded(NamedTuple):
    """A `datasets` object and where it came from."""

    data: Any
    origin: Origin


def load_dataset(path: str, name: str | None = None, *, options: DataOptions, **rest: Any) -> Any:
    """The data set, as `datasets.load_dataset` would give it: `load` without the origin."""
    return load(path, name, options=options, **rest).data


def load(
    path: str,
    name: str | None = None,
    *,
    options: DataOptions,
    split: Any = None,
    data_files: Any = None,
    data_dir: str | None = None,
    revision: str | None = None,
    **rest: Any,
) -> Loaded:
    """A data set and its origin: from the mirror, from local files, or from the hub.

    Args:
        path: Its name on the hub, a local folder, or a builder (`json`, `csv`, `parquet`, ...).
        name: The config.
        options: Where to look.
        split: One split, a slice, or a list of these; None for all in a `DatasetDict`.
        data_files: Files to read, local or on the hub.
        data_dir: A folder of the data set.
        revision: The hub's branch, tag or commit; a mirror has one version only.
        rest: Whatever else `datasets.load_dataset` takes.

    Raises:
        DataError: It cannot be had; says why, and the command that gets it.
    """
    rest.pop("trust_remote_code", None)  # current datasets refuse it, and we run no such code
    query = Query(
        path=path,
        config=name,
        split=split,
        data_files=data_files,
        data_dir=data_dir,
        revision=None if revision is None else str(revision),
        rest=rest,
    )
    mirror = Mirror(Path(options.mirror)) if options.mirror else None
    if mirror and (files := _safely_in_mirror(query, mirror)):
        return _from_mirror(query, files, mirror, options)
    if query.is_local:
        data, fingerprint = load_local(query)
        return Loaded(data, _origin(query, fingerprint))
    return _from_hub(query, mirror, options)


def _safely_in_mirror(query: Query, mirror: Mirror) -> dict[str, Path]:
    # a local path cannot be in a mirror, and is no name that a mirror would take
    return {} if query.is_local and query.path not in BUILDERS else in_mirror(query, mirror)


def _from_mirror(
    query: Query, files: dict[str, Path], mirror: Mirror, options: DataOptions
) -> Loaded:
    splits, checked = mirrored_splits(files, mirror, options.cache_path)
    hashes = {split: file.sha256 for split, file in checked.items()}
    notes = tuple(
        f"{split}: {file.entry.note or 'not the whole split'}"
        for split, file in checked.items()
        if file.entry and (file.entry.note or not file.entry.full)
    )
    data = shaped(splits, query.path, query.split, bool(query.rest.get("streaming")))
    return Loaded(data, _origin(query, f"mirror:{joint_fingerprint(hashes)}", notes))


def _from_hub(query: Query, mirror: Mirror | None, options: DataOptions) -> Loaded:
    if query.path in BUILDERS and options.offline:
        raise DataError(
            f"The data file {query.files[0]!r} is in no mirror and evalkit is offline: "
            "give a mirror that holds it (--mirror DIR or EVALKIT_MIRROR)"
        )
    try:
        return _asked(query, options)
    except DataError:
        raise
    except failures() as error:
        if options.offline and mirror and (has := mirrored(query, mirror)):
            raise not_here(query.path, query.config, has) from error
        raise explained(error, query.path, query.config, options.offline) from error


def _asked(query: Query, options: DataOptions) -> Loaded:
    """The data set from the hub, at a commit that the origin names."""
    from datasets.load import load_dataset

    if query.path in BUILDERS:
        return _from_data_files(query)
    if query.rest.get("streaming") and not options.offline:
        # a stream does not say what it reads, so it is told
        query = msgspec.structs.replace(query, revision=pin(query.path, query.revision).commit)
    try:
        with _offline(options.offline):
            data = load_dataset(query.path, **query.arguments)
    except RuntimeError as error:
        if options.offline or not refuses_script(error):
            raise
    else:
        commit = commit_of(data) or query.revision or "unknown"
        return Loaded(data, _origin(query, f"hub:{query.path}@{commit}"))
    data, commit = load_converted(query.path, query.config, query.split, query.rest)
    return Loaded(data, _origin(query, f"hub:{query.path}@{commit}"))


def _from_data_files(query: Query) -> Loaded:
    """What a builder reads at URLs: files of the hub at one commit, others as they are today."""
    from datasets.load import load_dataset

    commits: dict[str, str] = {}
    files = {
        split: [pinned_url(str(file), commits) for file in group]
        for split, group in query.file_groups.items()
    }
    data = load_dataset(query.path, **{**query.arguments, "data_files": files})
    names = sorted(shown(file) for group in files.values() for file in group)
    loose = tuple(f"{name}: not pinned, so it may change" for name in names if "@" not in name)
    return Loaded(data, _origin(query, f"hub:{' '.join(names)}", loose))


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Keeps `datasets` and the hub's client off the network: only their caches are read.

    Both read their switch from the environment when they are imported, so it is set here.
    """
    if not wanted:
        yield
        return
    import datasets.config as datasets_config
    import huggingface_hub.constants as hub_constants

    with _offline_switch:
        before = datasets_config.HF_HUB_OFFLINE, hub_constants.HF_HUB_OFFLINE
        datasets_config.HF_HUB_OFFLINE = hub_constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            datasets_config.HF_HUB_OFFLINE, hub_constants.HF_HUB_OFFLINE = before


def _origin(query: Query, fingerprint: str, notes: tuple[str, ...] = ()) -> Origin:
    return Origin(
        dataset=query.path,
        config=query.config or "",
        split="" if query.split is None else str(query.split),
        fingerprint=fingerprint,
        notes=notes,
    )
