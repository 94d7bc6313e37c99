"""Suites: named collections of tasks, in `tasks/suites/*.yaml`.

A suite's file has its name; its folder is evalkit's own, or one of the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.config.yaml import Definition, Document, convert, read_document
from evalkit.errors import UnknownNameError
from evalkit.resources import shipped

FOLDER = "suites"


class SuiteEntry(Definition, frozen=True, kw_only=True):
    """A task (or group, or pattern) of a suite, and how it is asked there.

    Args:
        task: Its name.
        limit: The first so many samples, or a fraction of them; None takes all.
        num_fewshot: Worked examples; None takes the task's own number.
        sampling: Overrides of the task's own sampling, for example `max_tokens`.
        repeats: Answers a sample; None takes the task's own number.
    """

    task: str
    limit: int | float | None = None
    num_fewshot: int | None = None
    sampling: dict[str, Any] = {}
    repeats: int | None = None


class Suite(Definition, frozen=True, kw_only=True):
    """A collection of tasks that are run together."""

    name: str
    title: str = ""
    description: str = ""
    tasks: tuple[SuiteEntry, ...] = ()


class _SuiteFile(Definition, frozen=True, kw_only=True):
    name: str
    title: str = ""
    description: str = ""
    tasks: tuple[str | SuiteEntry, ...]


def suite_names(include_paths: Sequence[str | Path] = ()) -> list[str]:
    """The names of all suites."""
    return sorted(_files(include_paths))


def load_suite(name: str, include_paths: Sequence[str | Path] = ()) -> Suite:
    """The suite called `name`.

    Raises:
        UnknownNameError: There is none; offers the nearest.
        ConfigError: Its file is wrong.
    """
    files = _files(include_paths)
    if name not in files:
        raise UnknownNameError("suite", name, files, f"Known: {', '.join(sorted(files))}.")
    return _read(files[name])


def _files(include_paths: Sequence[str | Path]) -> dict[str, Path]:
    """Suite files by name; the user's come before evalkit's own."""
    folders = [shipped("tasks") / FOLDER, *(Path(path).expanduser() for path in include_paths)]
    found: dict[str, Path] = {}
    for folder in folders:
        inner = folder if folder.name == FOLDER else folder / FOLDER
        found.update({path.stem: path for path in sorted(inner.glob("*.yaml"))})
    return found


def _read(path: Path) -> Suite:
    document = read_document(path)
    written = convert(document, _SuiteFile)
    if written.name != path.stem:
        raise document.error(
            f"is called {written.name!r}: the file of a suite has its name", "name"
        )
    entries = tuple(
        SuiteEntry(task=entry) if isinstance(entry, str) else entry for entry in written.tasks
    )
    _check(document, entries)
    return Suite(
        name=written.name, title=written.title, description=written.description, tasks=entries
    )


def _check(document: Document, entries: Sequence[SuiteEntry]) -> None:
    if not entries:
        raise document.error("'tasks' names no task", "tasks")
    for index, entry in enumerate(entries):
        if entry.limit is not None and not _is_limit(entry.limit):
            raise document.error(
                f"'limit' must be a whole number from 1, or a fraction below 1, not {entry.limit}",
                *("tasks", index, "limit"),
            )


def _is_limit(limit: int | float) -> bool:
    return 0 < limit < 1 or (limit >= 1 and limit == int(limit))
