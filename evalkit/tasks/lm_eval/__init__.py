"""lm-eval's tasks, tags and groups: found without lm-eval, asked and scored exactly as by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit.data.options import DataOptions
from evalkit.errors import UnknownNameError
from evalkit.tasks.lm_eval.index import read_index
from evalkit.tasks.lm_eval.information import entry_info
from evalkit.tasks.lm_eval.selection import select
from evalkit.tasks.protocol import Prompting, Task, TaskInfo, TaskRef

__all__ = ["info", "load", "names", "ref_info", "select"]


def names(include_paths: Sequence[Path] = ()) -> list[str]:
    """All names that `select` knows: tasks, groups and tags."""
    return sorted(read_index(include_paths))


def info(name: str, include_paths: Sequence[Path] = ()) -> TaskInfo:
    """What is known of a name without loading anything.

    Raises:
        UnknownNameError: There is no such task, group or tag.
    """
    index = read_index(include_paths)
    if name not in index:
        raise UnknownNameError("task", name, index)
    return entry_info(index[name])


def ref_info(ref: TaskRef) -> TaskInfo:
    """What is known of a selected task without loading its data."""
    from evalkit.tasks.lm_eval.construct import definition_of
    from evalkit.tasks.lm_eval.index import entry_of

    entry = entry_of(definition_of(ref), Path(ref.path))
    assert entry is not None, "a selected task has a name"
    return entry_info(entry)


def load(ref: TaskRef, prompting: Prompting, data: DataOptions) -> Task:
    """The task of `ref` with its rows loaded, to be asked as `prompting` says.

    Raises:
        UnsupportedError: It cannot be asked in that mode, needs more than text, or runs code
            without a sandbox.
        DataError: Its rows cannot be had.
        ConfigError: Its definition is wrong.
    """
    from evalkit.tasks.lm_eval.adapter import LmEvalTask, require_mode
    from evalkit.tasks.lm_eval.construct import build
    from evalkit.tasks.lm_eval.letter import LetterTask

    require_mode(ref_info(ref), prompting.mode)  # before any row is loaded
    built = build(ref, data, prompting.seed)
    return (LetterTask if prompting.mode == "letter" else LmEvalTask)(ref, built, prompting)
