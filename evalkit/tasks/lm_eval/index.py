"""What lm-eval's tasks, groups and tags are called, and what is known of each, without lm-eval.

lm-eval parses its 14,000 files at every start. Here they are parsed once for an installed
version, and the index lies in the cache folder as one file (`entries`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import msgspec

from evalkit.errors import ConfigError, InputError
from evalkit.resources import cache_dir
from evalkit.tasks.lm_eval.categories import category_of
from evalkit.tasks.lm_eval.definitions import FUNCTION, LIMITS, definition_files, read_definition
from evalkit.tasks.lm_eval.entries import Entry, Index, pack

_FORMAT = 3


def lm_eval_folder() -> Path:
    """lm-eval's task folder, found without importing lm-eval.

    Raises:
        InputError: lm-eval is not installed.
    """
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise InputError("lm-eval is not installed: pip install 'lm-eval[api]>=0.4.13,<0.4.14'")
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


def read_index(include_paths: Sequence[Path] = ()) -> Index:
    """The index of lm-eval's own names, overridden by those in the user's folders.

    Raises:
        InputError: A folder does not exist.
        ConfigError: A file in one of the user's folders cannot be read.
    """
    index = _shipped_index()
    for folder in include_paths:
        if not folder.is_dir():
            raise InputError(f"--include-path {str(folder)!r} is not a folder")
        index = index.over(build_index(folder.resolve(), strict=True))
    return index


def build_index(root: Path, strict: bool = False) -> dict[str, Entry]:
    """The names that the definitions under `root` define.

    Args:
        root: A folder of definitions.
        strict: Raise for a file that cannot be read; lm-eval's own files are skipped as
            lm-eval itself skips them.

    Raises:
        ConfigError: A file is wrong, and `strict`.
    """
    index: dict[str, Entry] = {}
    tags: dict[str, set[str]] = {}
    for path in definition_files(root):
        try:
            definition = read_definition(path)
            entry = entry_of(definition, path)
        except ConfigError:
            if strict:
                raise
            continue
        if entry is None or entry.name in index:
            continue  # a template, or a name that an earlier file has taken
        index[entry.name] = entry
        for tag in entry.tags if entry.kind == "task" else ():
            tags.setdefault(tag, set()).add(entry.name)
    for tag, members in tags.items():
        index.setdefault(tag, Entry(name=tag, kind="tag", members=sorted(members)))
    return index


def entry_of(definition: dict[str, Any], path: Path) -> Entry | None:
    """The entry that a merged definition makes; None for a template without a name."""
    group, task = definition.get("group"), definition.get("task")
    if "class" not in definition and isinstance(group, str):
        return _group_entry(definition, group, path)
    if isinstance(task, str):
        return _task_entry(definition, task, path)
    return None


def _group_entry(definition: dict[str, Any], name: str, path: Path) -> Entry:
    members = definition.get("task")
    settings = {key: definition[key] for key in definition if key not in ("group", "task")}
    return Entry(
        name=name,
        kind="group",
        path=str(path),
        members=members if isinstance(members, list) else [],
        settings=settings,
        title=str(definition.get("group_alias") or ""),
        category=category_of(path),
        version=_version(definition),
        tags=_strings(definition.get("tag")),
    )


def _task_entry(definition: dict[str, Any], name: str, path: Path) -> Entry:
    shots = definition.get("num_fewshot")
    python = "class" in definition
    return Entry(
        name=name,
        kind="task",
        path=str(path),
        title=str(definition.get("task_alias") or ""),
        category=category_of(path),
        version=_version(definition),
        output_type="" if python else str(definition.get("output_type") or "generate_until"),
        dataset_path=str(definition.get("dataset_path") or ""),
        dataset_name=str(definition.get("dataset_name") or ""),
        num_fewshot=shots if isinstance(shots, int) else None,
        max_tokens=_max_tokens(definition.get("generation_kwargs")),
        metrics=_metrics(definition.get("metric_list")),
        tags=_strings(definition.get("tag")),
        python=python,
        unsafe_code=bool(definition.get("unsafe_code")),
        multimodal=bool(definition.get("doc_to_image") or definition.get("doc_to_audio")),
    )


def _version(definition: dict[str, Any]) -> str:
    metadata = definition.get("metadata")
    value = metadata.get("version") if isinstance(metadata, dict) else None
    return "" if value is None else str(value)


def _metrics(metric_list: Any) -> list[str]:
    names = [item.get("metric") for item in metric_list or () if isinstance(item, dict)]
    return [_function_name(name) if isinstance(name, dict) else str(name) for name in names]


def _function_name(value: dict[str, str]) -> str:
    return value.get(FUNCTION, "").rpartition(".")[2]


def _max_tokens(generation: Any) -> int | None:
    limits = generation if isinstance(generation, dict) else {}
    said = (limits.get(name) for name in LIMITS)
    return next((limit for limit in said if isinstance(limit, int)), None)


def _strings(value: Any) -> list[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


@lru_cache(maxsize=1)
def _shipped_index() -> Index:
    folder = lm_eval_folder()
    file = _cache_file(folder)
    if (index := _read(file)) is not None:
        return index
    packed = pack(build_index(folder))
    _write(file, packed)
    return Index(packed)


def _cache_file(folder: Path) -> Path:
    """The cache file of this installation; another version, place or set of folders has another.

    The folders' own times are no sign of change: Python writes `__pycache__` into them. The
    files of an installed package stay as they are; in a checkout their own times are looked at.
    """
    version = installed_version("lm-eval")
    folders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    times = [(folder / "__init__.py").stat().st_mtime_ns]
    if not any(folder.parents[1].glob("lm_eval-*.dist-info")):
        times += [path.stat().st_mtime_ns for path in definition_files(folder)]
    stamp = repr((_FORMAT, str(folder), times, [n for n in folders if n != "__pycache__"]))
    mark = hashlib.sha256(stamp.encode()).hexdigest()[:16]
    return cache_dir() / "lm_eval" / f"index-{version}-{mark}.msgpack"


def _read(file: Path) -> Index | None:
    try:
        return Index(file.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # never written, or half written by an older evalkit: built again


def _write(file: Path, packed: bytes) -> None:
    """Writes beside and renames, so that a reader never sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as draft:
        draft.write(packed)
    Path(draft.name).replace(file)
