"""What a mirror holds of what tasks need, and where rows would come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from evalkit.data.files import sha256_of
from evalkit.data.mirror import DEFAULT, ENDING, Mirror, MirrorEntry
from evalkit.data.options import DataOptions
from evalkit.data.pull import DatasetRef
from evalkit.data.query import BUILDERS, Query, in_mirror, mirrored
from evalkit.data.refusals import failures, is_gated
from evalkit.records import Record

#: present  there, and what its checksum says
#: partial  there, but a sample or a rebuilt split: `detail` says how
#: altered  not what its checksum says
#: missing  not there
#: gated    not there, and the hub gives it only to those who accepted its terms
State = Literal["present", "partial", "altered", "missing", "gated"]


class DatasetStatus(Record, frozen=True, kw_only=True):
    """What a mirror holds of one reference; `rows`, `bytes` and `licence` of what is there."""

    ref: DatasetRef
    state: State
    detail: str = ""
    rows: int = 0
    bytes: int = 0
    licence: str = ""


class Location(Record, frozen=True, kw_only=True):
    """Where the rows of a reference would come from, were it loaded now."""

    ref: DatasetRef
    place: Literal["mirror", "local", "hub cache", "hub", "nowhere"]
    files: tuple[str, ...] = ()
    detail: str = ""


def status(
    refs: Iterable[DatasetRef], mirror: Path, gated: Callable[[str], bool] | None = None
) -> list[DatasetStatus]:
    """What a mirror holds of each reference, every file hashed anew.

    Args:
        refs: What tasks need.
        mirror: The mirror's folder.
        gated: Asks the hub whether a data set is gated (`gated_on_hub`); None does not ask.

    Raises:
        DataError: The folder is not a mirror, or a name is not fit for one.
    """
    opened = Mirror(mirror)
    return [_status(ref, opened, gated) for ref in refs]


def gated_on_hub(path: str) -> bool:
    """Whether the hub says that a data set is gated; False where it cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return bool(HfApi().dataset_info(path).gated)
    except failures() as error:
        return is_gated(error)


def where(ref: DatasetRef, options: DataOptions) -> Location:
    """Where the rows of a reference would come from.

    Raises:
        DataError: The mirror is not one, or the reference needs a config name.
    """
    query = _query(ref)
    detail = ""
    if options.mirror:
        mirror = Mirror(Path(options.mirror))
        if files := in_mirror(query, mirror):
            return Location(ref=ref, place="mirror", files=tuple(map(str, files.values())))
        detail = mirrored(query, mirror)
    if query.is_local:
        return Location(ref=ref, place="local", files=tuple(query.files or [query.path]))
    if cached := _hub_cache(ref.path):
        return Location(ref=ref, place="hub cache", files=(str(cached),), detail=detail)
    return Location(ref=ref, place="nowhere" if options.offline else "hub", detail=detail)


def _query(ref: DatasetRef) -> Query:
    return Query(
        path=ref.path,
        config=ref.config,
        split=list(ref.splits) or None,
        data_files=ref.data_files or None,
        revision=ref.revision or None,
        rest=ref.arguments,
    )


def _status(ref: DatasetRef, mirror: Mirror, gated: Callable[[str], bool] | None) -> DatasetStatus:
    query = _query(ref)
    files = in_mirror(query, mirror)
    if not files and gated and gated(ref.path):
        return DatasetStatus(ref=ref, state="gated", detail="run: hf auth login")
    if not files:
        gone = _gone(ref, mirror)
        return DatasetStatus(ref=ref, state="missing", detail=gone or mirrored(query, mirror))
    entries = {path: _entry(path, mirror) for path in files.values()}
    state, detail = _judged(entries, mirror)
    known = [entry for entry in entries.values() if entry]
    return DatasetStatus(
        ref=ref,
        state=state,
        detail=detail,
        rows=sum(entry.rows for entry in known),
        bytes=sum(path.stat().st_size for path in entries),
        licence=", ".join(sorted({entry.license for entry in known if entry.license})),
    )


def _entry(path: Path, mirror: Mirror) -> MirrorEntry | None:
    return mirror.entries.get(path.relative_to(mirror.root).as_posix())


def _judged(entries: dict[Path, MirrorEntry | None], mirror: Mirror) -> tuple[State, str]:
    altered = [path for path, entry in entries.items() if entry and sha256_of(path) != entry.sha256]
    if altered:
        return "altered", f"{_names(altered)}: not what the manifest says"
    if unnamed := [path for path, entry in entries.items() if entry is None]:
        return "present", f"{_names(unnamed)}: not in the manifest, so not checked"
    partial = {p: e for p, e in entries.items() if e and not e.full}
    if not partial:
        return "present", ""
    notes = [f"{_names([path])}: {entry.note or 'a sample'}" for path, entry in partial.items()]
    return "partial", "; ".join(notes)


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name.removesuffix(ENDING) for path in paths)


def _gone(ref: DatasetRef, mirror: Mirror) -> str:
    """Says which files the manifest names and the folder lacks."""
    lost = [
        entry.path
        for entry in mirror.entries.values()
        if entry.hf_path == mirror.aliases.get(ref.path, ref.path)
        and entry.config == (ref.config or DEFAULT)
        and not (mirror.root / entry.path).is_file()
    ]
    return f"in the manifest, but the file is gone: {', '.join(lost)}" if lost else ""


def _hub_cache(path: str) -> Path | None:
    """The folder of `datasets`' own cache that holds a data set, if there is one."""
    import datasets.config
    from datasets.naming import camelcase_to_snakecase

    if path in BUILDERS:
        return None
    owner, _, name = path.rpartition("/")
    folder = "___".join(part for part in (owner, camelcase_to_snakecase(name)) if part)
    found = Path(datasets.config.HF_DATASETS_CACHE) / folder
    return found if found.is_dir() and "/" not in folder else None
