"""What a list of lm-eval names stands for: leaf tasks, once each, and the groups over them.

The rules are those of lm-eval's `TaskFactory`, on definitions alone: no data is loaded and
lm-eval is not imported. In two places they differ on purpose: where a group names a tag or
another group with overrides (`openllm` does), lm-eval gives every member the name of the
tag, so that one of them is left; here members keep their names. And one task that two groups
want with different overrides, which lm-eval refuses, becomes two leaves: the second is
called `group::task`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError, UnknownNameError
from evalkit.records import canonical
from evalkit.tasks.lm_eval.definitions import read_definition
from evalkit.tasks.lm_eval.entries import Entry, Index
from evalkit.tasks.lm_eval.index import entry_of, read_index
from evalkit.tasks.protocol import Group, GroupMetric, Selection, TaskRef

KIND = "lm_eval"
#: Keys of a group's definition that describe the group; all others override its tasks.
_GROUP_KEYS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata"})


def select(names: Sequence[str], include_paths: Sequence[Path] = ()) -> Selection:
    """The tasks and groups that `names` stand for.

    Args:
        names: Tasks, groups, tags, glob patterns over all of these, or paths of YAML files.
        include_paths: Folders with the user's own definitions; they win over lm-eval's.

    Raises:
        UnknownNameError: A name that lm-eval does not know.
        ConfigError: A definition is wrong.
    """
    index = read_index(include_paths)
    expansion = _Expansion(index)
    for name in names:
        for entry in _entries(name, index):
            expansion.add(entry)
    return Selection(tasks=tuple(expansion.leaves.values()), groups=tuple(expansion.groups))


def _entries(name: str, index: Index) -> list[Entry]:
    if name in index:
        return [index[name]]
    if name.endswith((".yaml", ".yml")):
        return [_file_entry(Path(name))]
    matched = [index[known] for known in sorted(index) if fnmatchcase(known, name)]
    if not matched:
        raise UnknownNameError("task", name, index)
    return matched


def _file_entry(path: Path) -> Entry:
    path = path.expanduser().resolve()
    entry = entry_of(read_definition(path), path)
    if entry is None:
        raise ConfigError("names neither a task nor a group", path=str(path))
    return entry


class _Expansion:
    """Collects leaves and groups, in the order named."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.leaves: dict[str, TaskRef] = {}
        self.groups: list[Group] = []

    def add(self, entry: Entry) -> None:
        if entry.kind == "group":
            self._group(entry.name, entry.settings, entry.members, {}, ())
        elif entry.kind == "tag":
            self._tag(entry, {}, "")
        else:
            self._leaf(entry, {}, "")

    def _tag(self, entry: Entry, overrides: dict[str, Any], group: str) -> list[str]:
        members = (self.index[name] for name in entry.members if name in self.index)
        return [self._leaf(member, overrides, group) for member in members]

    def _leaf(self, entry: Entry, overrides: dict[str, Any], group: str) -> str:
        return self._keep(
            TaskRef(name=entry.name, kind=KIND, path=entry.path, overrides=overrides), group
        )

    def _keep(self, ref: TaskRef, group: str) -> str:
        """Keeps a leaf once; one that differs from a namesake takes its group's name before it."""
        name = ref.name
        while name in self.leaves and not _same(self.leaves[name], ref):
            name = f"{group}::{name}" if group else f"{name}::alone"
        self.leaves.setdefault(name, _renamed(ref, name))
        return name

    def _group(
        self,
        name: str,
        settings: dict[str, Any],
        members: Iterable[Any],
        overrides: dict[str, Any],
        parents: tuple[str, ...],
    ) -> list[str]:
        if name in parents:
            raise ConfigError(f"Group {name!r} contains itself")
        own = {key: value for key, value in settings.items() if key not in _GROUP_KEYS}
        place, inherited = len(self.groups), own | overrides
        leaves: list[str] = []
        for member in members:
            leaves += self._member(member, name, inherited, (*parents, name))
        unique = tuple(dict.fromkeys(leaves))
        if all(group.name != name for group in self.groups):
            self.groups.insert(place, _group_record(name, settings, unique))
        return list(unique)

    def _member(
        self, member: Any, group: str, inherited: dict[str, Any], parents: tuple[str, ...]
    ) -> list[str]:
        if isinstance(member, str):
            return self._named(member, group, inherited, parents)
        if isinstance(member, dict) and isinstance(member.get("group"), str):
            return self._subgroup(member, group, inherited, parents)
        if isinstance(member, dict) and isinstance(member.get("task"), str):
            own = {key: value for key, value in member.items() if key != "task"}
            return self._named(member["task"], group, inherited | own, parents)
        raise ConfigError(
            f"Group {group!r} has a member that is neither a name nor a mapping "
            f"with 'task' or 'group': {member!r}"
        )

    def _named(
        self, name: str, group: str, overrides: dict[str, Any], parents: tuple[str, ...]
    ) -> list[str]:
        entry = self.index.get(name)
        if entry is None:
            return [self._inline(name, group, overrides)]
        if entry.kind == "group":
            return self._group(name, entry.settings, entry.members, overrides, parents)
        if entry.kind == "tag":
            return self._tag(entry, overrides, group)
        return [self._leaf(entry, overrides, group)]

    def _subgroup(
        self,
        member: dict[str, Any],
        group: str,
        inherited: dict[str, Any],
        parents: tuple[str, ...],
    ) -> list[str]:
        own = {key: value for key, value in member.items() if key != "group"}
        entry = self.index.get(member["group"])
        if entry is not None and entry.kind == "group":
            return self._group(entry.name, entry.settings, entry.members, inherited | own, parents)
        members = member.get("task")
        listed = members if isinstance(members, list) else [members]
        return self._group(f"{group}::{member['group']}", own, listed, inherited, parents)

    def _inline(self, name: str, group: str, overrides: dict[str, Any]) -> str:
        if not {"dataset_path", "custom_dataset"} & set(overrides):
            hint = f"It is named in the group {group!r}."
            raise UnknownNameError("task", name, self.index, hint)
        return self._keep(TaskRef(name=f"{group}::{name}", kind=KIND, overrides=overrides), group)


def _same(first: TaskRef, second: TaskRef) -> bool:
    keys = [canonical([ref.path, ref.overrides]) for ref in (first, second)]
    return keys[0] == keys[1]


def _renamed(ref: TaskRef, name: str) -> TaskRef:
    return TaskRef(name=name, kind=ref.kind, path=ref.path, overrides=ref.overrides)


def _group_record(name: str, settings: dict[str, Any], members: tuple[str, ...]) -> Group:
    metadata = settings.get("metadata")
    version = metadata.get("version", "") if isinstance(metadata, dict) else ""
    return Group(
        name=name,
        title=str(settings.get("group_alias") or ""),
        version=str(version),
        members=members,
        metrics=_group_metrics(settings.get("aggregate_metric_list")),
    )


def _group_metrics(listed: Any) -> tuple[GroupMetric, ...]:
    if not listed:
        return ()
    return tuple(_group_metric(item) for item in (listed if isinstance(listed, list) else [listed]))


def _group_metric(item: dict[str, Any]) -> GroupMetric:
    filters = item.get("filter_list") or ()
    return GroupMetric(
        metric=str(item["metric"]),
        filters=(filters,) if isinstance(filters, str) else tuple(filters),
        weight_by_size=bool(item.get("weight_by_size", True)),
    )
