"""All tasks by name, whatever adapter knows them: evalkit's own first, then lm-eval's.

Names are found without a row or a heavy library being loaded: what reads a definition of our own
is imported where one is named. It is found by its file's name; a YAML in one of the user's folders
is ours if it has a top-level `name`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec

from evalkit.config.yaml import read_document
from evalkit.data.options import DataOptions
from evalkit.errors import ConfigError, UnknownNameError
from evalkit.records import Record
from evalkit.resources import shipped
from evalkit.tasks import lm_eval, suites
from evalkit.tasks.protocol import Prompting, Selection, Task, TaskInfo, TaskRef

#: Its entries name packages (top-level ones) that hold definitions as data files.
GROUP = "evalkit.tasks"
Paths = Sequence[str | Path]

_OURS = re.compile(r"^name\s*:", re.MULTILINE)
_PATTERN = re.compile(r"[*?\[]")


class Listed(Record, frozen=True, kw_only=True):
    """A line of the catalogue; `kind` is `group` or `tag` for names of several tasks."""

    name: str
    kind: str
    category: str = ""
    title: str = ""


def names(include_paths: Paths = ()) -> list[str]:
    """All names that `select` knows: tasks, groups and tags."""
    return sorted({*own_files(include_paths), *lm_eval.names(_folders(include_paths))})


def listing(pattern: str = "", include_paths: Paths = ()) -> list[Listed]:
    """What there is, by name; `pattern` is a part of a name, or a pattern with `*`."""
    from evalkit.tasks.lm_eval.index import read_index

    own = own_files(include_paths)
    lines = [_listed(name, path) for name, path in own.items() if _matches(name, pattern)]
    for name, line in read_index(_folders(include_paths)).lines().items():
        if name not in own and _matches(name, pattern):
            kind = "lm_eval" if line.kind == "task" else line.kind
            lines.append(Listed(name=name, kind=kind, category=line.category, title=line.title))
    return sorted(lines, key=lambda line: line.name)


def info(name: str, include_paths: Paths = ()) -> TaskInfo:
    """What is known of a name without a row being loaded.

    Raises:
        UnknownNameError: There is no such task, group or tag.
    """
    files = own_files(include_paths)
    if name in files:
        return _own_info(files[name])
    _check_known(name, include_paths)
    return lm_eval.info(name, _folders(include_paths))


def info_of(ref: TaskRef) -> TaskInfo:
    """What is known of a selected task without a row being loaded."""
    if ref.kind == "lm_eval":
        return lm_eval.ref_info(ref)
    return _own_info(Path(ref.path))


def describe(name: str, include_paths: Paths = ()) -> dict[str, Any]:
    """Facts of a task, group or tag, for people to read.

    Raises:
        UnknownNameError: There is no such name.
    """
    facts: dict[str, Any] = msgspec.to_builtins(info(name, include_paths))
    files = own_files(include_paths)
    if name in files:
        return {**facts, **_more(files[name]), "file": str(files[name])}
    selection = select([name], include_paths)
    members = [ref.name for ref in selection.tasks]
    return {**facts, "tasks": members} if members != [name] else facts


def select(wanted: Sequence[str], include_paths: Paths = ()) -> Selection:
    """The tasks and groups that names stand for, once each: our own first, then lm-eval's.

    Args:
        wanted: Tasks, groups, tags, patterns over all of these, or paths of YAML files.
        include_paths: Folders with the user's own definitions; they win over shipped ones.

    Raises:
        UnknownNameError: A name that nothing has; offers the nearest.
        ConfigError: A definition is wrong.
    """
    files, folders = own_files(include_paths), _folders(include_paths)
    own: dict[str, TaskRef] = {}
    others: list[str] = []  # asked for at once: lm-eval tells apart namesakes among them
    for name in wanted:
        paths = _own_matches(name, files)
        own.update({ref.name: ref for ref in map(_ref, paths)})
        if not paths or _is_pattern_of(name, lm_eval.names(folders)):
            others.append(name)
    for name in others:
        _check_known(name, include_paths)
    found = lm_eval.select(others, folders) if others else Selection()
    left = tuple(ref for ref in found.tasks if ref.name not in own)
    return Selection(tasks=(*own.values(), *left), groups=found.groups)


def load(ref: TaskRef, prompting: Prompting, data: DataOptions) -> Task:
    """The task of `ref` with its rows at hand, to be asked as `prompting` says.

    Raises:
        InputError: Its definition is wrong, its rows cannot be had, or it cannot be asked so.
    """
    if ref.kind == "lm_eval":
        return lm_eval.load(ref, prompting, data)
    if ref.kind == "generated":
        from evalkit.tasks import generated

        return generated.load(ref, prompting, data)
    from evalkit.tasks import declarative

    return declarative.load(ref, prompting, data)


def own_files(include_paths: Paths = ()) -> dict[str, Path]:
    """The YAML files of evalkit's own kinds by task name.

    Those of installed packages win over shipped ones, and those in the user's folders over all.
    """
    found = {path.stem: path for path in _yaml_files(shipped("tasks"))}
    for folder in (*_package_folders(), *_folders(include_paths)):
        found.update({path.stem: path for path in _yaml_files(folder) if _is_ours(path)})
    return found


def _own_matches(name: str, files: dict[str, Path]) -> list[Path]:
    """The files of ours that a name, a pattern or a path stands for."""
    if name in files:
        return [files[name]]
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError("there is no such file", path=str(path))
        return [path] if _is_ours(path) else []
    return [files[known] for known in sorted(files) if fnmatchcase(known, name)]


def _is_pattern_of(name: str, known: Iterable[str]) -> bool:
    return bool(_PATTERN.search(name)) and any(fnmatchcase(other, name) for other in known)


def _check_known(name: str, include_paths: Paths) -> None:
    """Refuse what neither we nor lm-eval know, with the nearest of all names."""
    known = names(include_paths)
    if name in known or name.endswith((".yaml", ".yml")) or _is_pattern_of(name, known):
        return
    hint = f"There is a suite of this name: -s {name}." if name in suites.suite_names() else ""
    raise UnknownNameError("task", name, known, hint)


def _own_info(path: Path) -> TaskInfo:
    from evalkit.tasks.declarative import definition_info
    from evalkit.tasks.own.definition import read_definition

    return definition_info(read_definition(path))


def _ref(path: Path) -> TaskRef:
    from evalkit.tasks.own.definition import read_definition

    definition = read_definition(path)
    return TaskRef(name=definition.name, kind=definition.kind, path=str(path.resolve()))


def _listed(name: str, path: Path) -> Listed:
    """A line of ours: read from the YAML as it is, which is checked when the task is used."""
    keys = read_document(path).value
    if not isinstance(keys, dict):
        raise ConfigError("must be a mapping of keys to values at its top level", path=str(path))
    return Listed(
        name=name,
        kind="generated" if keys.get("generator") else "declarative",
        category=str(keys.get("category") or ""),
        title=str(keys.get("title") or ""),
    )


def _more(path: Path) -> dict[str, Any]:
    """What a definition says beyond `TaskInfo`."""
    from evalkit.tasks.own.definition import read_definition

    definition = read_definition(path)
    scorer = definition.bound_scorer()
    return {
        "scorer": f"{scorer.scorer.name} {scorer.scorer.version}" if scorer else "choices",
        "citation": definition.citation,
        "sampling": msgspec.to_builtins(definition.sampling),
        "repeats": definition.repeats,
    }


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if _PATTERN.search(pattern) else pattern in name


def _package_folders() -> Iterator[Path]:
    """Folders of packages that name themselves in the entry point group; none is imported."""
    for entry in entry_points(group=GROUP):
        found = importlib.util.find_spec(entry.value)
        if found is None or not found.submodule_search_locations:
            raise ConfigError(f"entry point {entry.name!r} of {GROUP}: no package {entry.value!r}")
        yield from map(Path, found.submodule_search_locations)


def _yaml_files(folder: Path) -> Iterator[Path]:
    inside: Iterable[Path] = sorted(folder.rglob("*.yaml"))
    return (path for path in inside if suites.FOLDER not in path.relative_to(folder).parts)


def _is_ours(path: Path) -> bool:
    try:
        return _OURS.search(path.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=str(path)) from None


def _folders(include_paths: Paths) -> list[Path]:
    return [Path(path).expanduser() for path in include_paths]
