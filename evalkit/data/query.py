"""What a call of `load_dataset` asks for, and where in a mirror it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from evalkit.data.mirror import Mirror, folder_name, hub_file, is_dataset_name
from evalkit.records import Record

#: Builders of `datasets` that read files instead of naming a data set.
BUILDERS = frozenset({"json", "csv", "parquet", "text", "arrow", "xml", "webdataset"})

#: Arguments that do not change which rows a mirror gives: how to download, store or check them,
#: and the columns' types, which a mirror's manifest knows.
_NEUTRAL = frozenset(
    {
        "cache_dir",
        "download_config",
        "download_mode",
        "features",
        "keep_in_memory",
        "num_proc",
        "save_infos",
        "storage_options",
        "streaming",
        "token",
        "verification_mode",
    }
)


class Query(Record, frozen=True, kw_only=True):
    """The arguments of one call; `rest` are those that need no thought here."""

    path: str
    config: str | None = None
    split: Any = None
    data_files: Any = None
    data_dir: str | None = None
    revision: str | None = None
    rest: dict[str, Any] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `datasets.load_dataset`."""
        given = {
            "name": self.config,
            "split": self.split,
            "data_files": self.data_files,
            "data_dir": self.data_dir,
            "revision": self.revision,
        }
        return {**self.rest, **{key: value for key, value in given.items() if value is not None}}

    @property
    def is_local(self) -> bool:
        """Whether it names files or a folder of this machine."""
        if self.path in BUILDERS:
            return not any("://" in file for file in self.files)
        return self.path.startswith(("/", "./", "../", "~")) or Path(self.path).exists()

    @property
    def files(self) -> list[str]:
        """Every data file that is named, in order."""
        return [str(file) for group in self.file_groups.values() for file in group]

    @property
    def file_groups(self) -> dict[str, list[Any]]:
        """The data files of each split; files without one are `train`, as `datasets` has it."""
        given = self.data_files
        groups = given if isinstance(given, dict) else {"train": given}
        return {str(split): _listed(group) for split, group in groups.items()}


def splits_asked(split: Any) -> set[str]:
    """The names of the splits in `test`, `train[:10]+test` or a list of such; empty for all."""
    specs = [] if split is None else split if isinstance(split, list | tuple) else [split]
    parts = [part for spec in specs for part in str(spec).split("+")]
    names = {re.sub(r"\[.*", "", part).strip() for part in parts}
    return set() if "all" in names else names


def in_mirror(query: Query, mirror: Mirror) -> dict[str, Path]:
    """The mirror's file of each split that answers the query; empty if it cannot answer.

    Raises:
        DataError: The query needs a config name and has none.
    """
    if query.data_files is not None:
        return _by_data_file(query, mirror)
    if not _names_dataset(query) or not set(query.rest) <= _NEUTRAL:
        return {}
    config = mirror.config_of(query.path, query.config or query.data_dir)
    splits = {} if config is None else mirror.splits(query.path, config)
    return _asked(query, splits)


def mirrored(query: Query, mirror: Mirror) -> str:
    """What the mirror has of the data set in place of what is asked, for messages."""
    if not _names_dataset(query):
        return ""
    configs = mirror.configs(query.path)
    if not configs:
        return ""
    config = folder_name(query.config or query.data_dir or configs[0])
    if config not in configs:
        return f"it has the configs {', '.join(configs[:40])}"
    return f"it has the splits {', '.join(mirror.splits(query.path, config))}"


def _asked(query: Query, splits: dict[str, Path]) -> dict[str, Path]:
    """The splits that the query asks for; empty if one of them is not there."""
    asked = splits_asked(query.split) or set(splits)
    return {name: splits[name] for name in splits if name in asked} if asked <= set(splits) else {}


def _names_dataset(query: Query) -> bool:
    return query.path not in BUILDERS and is_dataset_name(query.path)


def _by_data_file(query: Query, mirror: Mirror) -> dict[str, Path]:
    """The stand-ins of data files on the hub: all of them, or none."""
    found: dict[str, Path] = {}
    for split, group in query.file_groups.items():
        files = [_hub_url(query.path, str(file)) for file in group]
        path = mirror.find_data_file(files[0], split) if len(files) == 1 else None
        if path is None:
            return {}
        found[split] = path
    return _asked(query, found)


def _hub_url(path: str, file: str) -> str:
    """The URL of a data file; in a data set's own repository files are named without one."""
    return file if path in BUILDERS or hub_file(file) else f"hf://datasets/{path}/{file}"


def _listed(group: Any) -> list[Any]:
    if group is None:
        return []
    return list(group) if isinstance(group, list | tuple) else [group]
