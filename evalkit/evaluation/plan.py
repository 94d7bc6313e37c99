"""What a run will do, decided and checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from evalkit.config.run_config import ModelEntry, RunConfig, check_config
from evalkit.data.options import DataOptions, data_options
from evalkit.evaluation.prompting import decide_prompting
from evalkit.models.protocol import Model
from evalkit.models.registry import create_model
from evalkit.tasks.catalogue import info_of, load, select
from evalkit.tasks.protocol import Group, Prompting, Task, TaskInfo, TaskRef
from evalkit.tasks.recipe import TaskRecipe
from evalkit.tasks.suites import SuiteEntry, load_suite


@dataclass(frozen=True, slots=True)
class Selected:
    """A task to run, with what a suite says of it."""

    ref: TaskRef
    limit: int | float | None = None
    entry: SuiteEntry | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A model of the run and its own settings."""

    entry: ModelEntry
    model: Model
    #: What tables and folders call it; read from the spec once, for every sample asks for it.
    label: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.entry.spec().label)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One task put to one model in one way."""

    member: Member
    ref: TaskRef
    info: TaskInfo
    prompting: Prompting
    limit: int | float | None
    data: DataOptions

    preloaded: list[Task] = field(default_factory=list)

    @property
    def recipe(self) -> TaskRecipe:
        """How other processes load the task."""
        return TaskRecipe(ref=self.ref, prompting=self.prompting, data=self.data)

    def load(self) -> Task:
        """The task, with its rows; may take seconds and raises `InputError`."""
        if self.preloaded:
            return self.preloaded.pop()
        return load(self.ref, self.prompting, self.data)


@dataclass(slots=True)
class Plan:
    """All that a run needs."""

    config: RunConfig
    data: DataOptions
    members: list[Member]
    selected: list[Selected]
    groups: tuple[Group, ...]
    jobs: list[PlannedJob] = field(default_factory=list)
    #: Tasks of a suite that this machine cannot run, and why.
    skipped: dict[str, str] = field(default_factory=dict)


def choose(config: RunConfig) -> tuple[list[Selected], tuple[Group, ...]]:
    """The tasks that a config names, each once, and the groups over them.

    Raises:
        UnknownNameError: A task or suite that does not exist.
    """
    chosen: dict[str, Selected] = {}
    groups: dict[str, Group] = {}

    def take(names: Sequence[str], limit: int | float | None, entry: SuiteEntry | None) -> None:
        selection = select(names, config.include_path)
        for ref in selection.tasks:
            chosen.setdefault(ref.name, Selected(ref, limit, entry))
        groups.update({group.name: group for group in selection.groups})

    take(config.tasks, config.limit, None)
    for suite in config.suites:
        for entry in load_suite(suite, config.include_path).tasks:
            limit = entry.limit if config.limit is None else config.limit
            take([entry.task], limit, entry)
    return list(chosen.values()), tuple(groups.values())


def draft(
    config: RunConfig,
    environ: Mapping[str, str],
    instances: Mapping[str, Model] = MappingProxyType({}),
) -> Plan:
    """The plan, as far as it can be made without opening a model.

    Args:
        config: The run.
        environ: Where the mirror and the offline switch are read.
        instances: Models that were made in Python, by label.

    Raises:
        InputError: Anything in the config is wrong; nothing was contacted.
    """
    check_config(config)
    data = data_options(config.mirror or None, config.offline or None, environ)
    selected, groups = choose(config)
    members = [
        Member(entry, _model(entry, instances, config.concurrency)) for entry in config.entries()
    ]
    return Plan(config, data, members, selected, groups)


def _model(entry: ModelEntry, instances: Mapping[str, Model], concurrency: int | None) -> Model:
    spec = entry.spec()
    if spec.label in instances:
        return instances[spec.label]
    model = create_model(spec)
    model.name = spec.label
    wanted = entry.concurrency or concurrency
    # what runs in this process knows itself how much it can do at once
    if wanted is not None and not getattr(model, "in_process", False):
        model.concurrency = wanted
        if hasattr(model, "most_concurrency"):
            model.most_concurrency = None  # the user knows better than any search
    return model


def assign(plan: Plan) -> None:
    """Decide how every task is put to every model, all of which are open.

    Raises:
        UnsupportedError: A model cannot be asked a task.
    """
    plan.jobs = [
        PlannedJob(
            member=member,
            ref=one.ref,
            info=(info := info_of(one.ref)),
            prompting=decide_prompting(
                plan.config, member.entry, member.model.capabilities, info, one.entry
            ),
            limit=one.limit,
            data=plan.data,
        )
        for member in plan.members
        for one in plan.selected
    ]
