"""The offline mirror: a folder of gzipped JSON Lines that stands in for the hub.

    hub/<dataset path>/<config>/<split>.jsonl.gz    rows as the hub's data set has them
    raw/<name>/<file>.jsonl.gz                      sets that are not on the hub
    MANIFEST.jsonl                                  one line a file: source, rows, SHA-256, licence
    ALIASES.json                                    data set names that share another's files

Names come from YAML files of strangers, so each becomes one checked path component.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from evalkit.data.files import sha256_of
from evalkit.errors import DataError, UnknownNameError
from evalkit.records import Record

MANIFEST, ALIASES, ENDING = "MANIFEST.jsonl", "ALIASES.json", ".jsonl.gz"
#: The config of data sets that have none.
DEFAULT = "default"

_DATASET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_HUB_FILE = re.compile(r"datasets/(?P<dataset>[^/]+/[^/@]+)(@[^/]+)?/(?P<file>.+)")
_HUB_PAGE = re.compile(r"/?datasets/(?P<dataset>[^/]+/[^/]+)/(resolve|raw|blob)/[^/]+/(?P<file>.+)")


class MirrorEntry(Record, frozen=True, kw_only=True):
    """What the manifest says of one file.

    `full` is false for a sample or a rebuilt split, and `note` says how; `license` is the
    source's own word. `features` are the columns' types on the hub, where they are known.
    """

    path: str
    sha256: str
    name: str = ""
    hf_path: str | None = None
    config: str | None = None
    split: str | None = None
    rows: int = 0
    bytes: int = 0
    full: bool = True
    note: str = ""
    license: str = ""
    category: str = ""
    languages: tuple[str, ...] = ()
    source_repo: str = ""
    source_path: str = ""
    source_commit: str | None = ""
    lm_eval_tasks: tuple[str, ...] = ()
    verified_tasks: tuple[str, ...] = ()
    features: dict[str, Any] | None = None


class MirrorFile(Record, frozen=True, kw_only=True):
    """A file of the mirror whose content was just hashed; `entry` is None if no line names it."""

    path: str
    sha256: str
    entry: MirrorEntry | None = None

    @property
    def features(self) -> dict[str, Any] | None:
        """The columns' types on the hub, where the manifest knows them."""
        return self.entry.features if self.entry else None


class Mirror:
    """A mirror's folder, read as it is asked.

    Args:
        root: The folder.

    Raises:
        DataError: The folder does not exist, or has neither `hub/` nor `raw/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()
        if not self.root.is_dir():
            raise DataError(f"The mirror {self.root} does not exist: fill one with {PULL}")
        if not any((self.root / part).is_dir() for part in ("hub", "raw")):
            raise DataError(f"{self.root} is not a mirror: it has neither hub/ nor raw/")

    @property
    def entries(self) -> dict[str, MirrorEntry]:
        """The manifest's lines by the files' paths in the mirror."""
        return read_manifest(self.root)

    @property
    def aliases(self) -> dict[str, str]:
        """Data set names that share the files of another."""
        return _read_aliases(*_stamp(self.root / ALIASES))

    def configs(self, dataset: str) -> list[str]:
        """The configs that the mirror has of a data set, in order of name."""
        folder = self._dataset_folder(dataset)
        return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []

    def config_of(self, dataset: str, config: str | None) -> str | None:
        """The mirror's name for `config`, or None if it has no such config.

        As on the hub, no config means `default`, or the only one there is.

        Raises:
            DataError: No config is given, and there are several.
        """
        known = self.configs(dataset)
        if config is not None:
            return folder_name(config) if folder_name(config) in known else None
        if DEFAULT in known or len(known) <= 1:
            return DEFAULT if DEFAULT in known else next(iter(known), None)
        raise DataError(f"Dataset {dataset!r} needs a config name: one of {', '.join(known)}")

    def splits(self, dataset: str, config: str) -> dict[str, Path]:
        """The splits of a config and their files, in the field's order (train before test)."""
        folder = self._dataset_folder(dataset) / folder_name(config)
        names = [p.name.removesuffix(ENDING) for p in folder.glob(f"*{ENDING}")]
        return {name: folder / f"{name}{ENDING}" for name in sorted(names, key=_split_order)}

    def find(self, dataset: str, config: str | None, split: str) -> Path | None:
        """The file of one split, or None if the mirror lacks it."""
        known = self.config_of(dataset, config)
        return None if known is None else self.splits(dataset, known).get(split)

    def find_data_file(self, url: str, split: str) -> Path | None:
        """The file that stands for a data file on the hub, named by its URL."""
        place = hub_file(url)
        if place is None:
            return None
        dataset, file = place
        return self.splits(dataset, config_of_file(file)).get(split)

    def raw(self, name: str, file: str) -> Path:
        """The path of `raw/<name>/<file>`; the ending may be left out.

        Raises:
            UnknownNameError: There is no such set or file; offers the nearest.
        """
        folder = self.root / "raw" / checked_part(name)
        if not folder.is_dir():
            known = [p.name for p in (self.root / "raw").glob("*") if p.is_dir()]
            raise UnknownNameError("raw set of the mirror", name, known)
        stem = checked_part(file).removesuffix(ENDING)
        path = folder / f"{stem}{ENDING}"
        if not path.is_file():
            known = [p.name.removesuffix(ENDING) for p in folder.glob(f"*{ENDING}")]
            raise UnknownNameError(f"file of the raw set {name!r}", stem, known)
        return path

    def verified(self, path: Path) -> MirrorFile:
        """The file with its checksum, compared with the manifest's.

        Raises:
            DataError: It is not the file that the manifest describes.
        """
        inside = path.relative_to(self.root).as_posix()
        entry, found = self.entries.get(inside), sha256_of(path)
        if entry is not None and entry.sha256 != found:
            raise DataError(
                f"{inside} of the mirror was altered: its SHA-256 is {found}, {MANIFEST} says "
                f"{entry.sha256}; delete it and fetch it again with {PULL}"
            )
        return MirrorFile(path=str(path), sha256=found, entry=entry)

    def _dataset_folder(self, dataset: str) -> Path:
        return self.root / "hub" / dataset_folder(self.aliases.get(dataset, dataset))


#: The command that error messages name.
PULL = "evalkit data pull"


def read_manifest(root: Path) -> dict[str, MirrorEntry]:
    """The lines of a mirror's manifest by their files' paths; empty without a manifest.

    Raises:
        DataError: A line is not a manifest's.
    """
    return _read_manifest(*_stamp(root / MANIFEST))


def checked_part(name: str) -> str:
    """`name`, which can be one component of a path and no more.

    Raises:
        DataError: It could lead out of its folder.
    """
    if not name or name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
        raise DataError(f"{name!r} cannot name a part of a mirror: it is not a plain file name")
    return name


def folder_name(config: str) -> str:
    """The folder of a config; a slash in its name becomes `--`."""
    return checked_part(config.replace("/", "--"))


def dataset_folder(dataset: str) -> PurePosixPath:
    """The folder of a data set under `hub/`.

    Raises:
        DataError: It is not the name of a data set on the hub.
    """
    if not is_dataset_name(dataset):
        raise DataError(f"{dataset!r} is not the name of a dataset: it looks like owner/name")
    return PurePosixPath(dataset)


def is_dataset_name(name: str) -> bool:
    """Whether `name` could name a data set on the hub: `owner/name`, or a bare name."""
    return _DATASET.fullmatch(name) is not None


def hub_file(url: str) -> tuple[str, str] | None:
    """The data set and the file inside it that a URL of the hub names, or None for other URLs."""
    parts = urlsplit(url)
    if parts.scheme == "hf":
        found = _HUB_FILE.fullmatch(parts.netloc + parts.path)
    elif parts.scheme == "https" and parts.netloc == "huggingface.co":
        found = _HUB_PAGE.fullmatch(parts.path)
    else:
        return None
    return (found["dataset"], unquote(found["file"])) if found else None


def config_of_file(file: str) -> str:
    """The config under which a mirror keeps a data file of a repository.

    It is the file's stem, after the folders it is in, except for a folder named `data`.
    """
    path = PurePosixPath(file)
    folders = [part for part in path.parts[:-1] if part != "data"]
    return "--".join([*folders, path.name.partition(".")[0]])


def _split_order(name: str) -> tuple[int, str]:
    usual = ["train", "dev", "validation", "test"]
    return (usual.index(name) if name in usual else len(usual), name)


def _stamp(path: Path) -> tuple[Path, int, int]:
    """The path and what changes with its content, as the key of a cache."""
    if not path.is_file():
        return path, 0, -1
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4)
def _read_manifest(path: Path, _mtime: int, size: int) -> dict[str, MirrorEntry]:
    if size < 0:
        return {}
    decoder, entries = msgspec.json.Decoder(MirrorEntry), {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise DataError(f"{path}:{number}: not a line of a manifest ({error})") from error
        entries[entry.path] = entry
    return entries


@lru_cache(maxsize=4)
def _read_aliases(path: Path, _mtime: int, size: int) -> dict[str, str]:
    if size < 0:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: not a JSON object of names ({error})") from error
