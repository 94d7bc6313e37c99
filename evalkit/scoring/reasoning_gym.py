"""Procedural tasks of Reasoning Gym: their rows and their scoring, by the package's own code.

Stojanovski et al. (2025), "Reasoning Gym", arXiv:2505.24760; github.com/open-thought/reasoning-gym.
The pinned wheel is unpacked, not installed: most of its data sets need numpy alone, while its
top-level module would import all of them with eleven further packages. So its packages are
imported as plain folders, whose `__init__` does not run, and only one data set's module is.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from evalkit.config.yaml import Definition
from evalkit.data.wheel import fetch_package
from evalkit.errors import DataError, InputError
from evalkit.records import Response, Sample, Score, canonical
from evalkit.resources import cache_dir
from evalkit.scoring.scorer import Scorer, Verdict, final_text, mean_score, named

_PACKAGE = "reasoning_gym"
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_LABELLED = re.compile(r"^.*?\banswer\s*(?:is)?\s*[:=]\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_importing = threading.Lock()
_imported: dict[tuple[str, str, str], tuple[Any, Any]] = {}


class GymParams(Definition, frozen=True, kw_only=True):
    """One data set of a pinned wheel.

    Args:
        dataset: Module of the data set inside the package, as `arithmetic.chain_sum`.
        config: What its configuration sets, besides seed and size.
        version: Version of the package.
        sha256: Of its wheel.
    """

    dataset: str
    config: dict[str, Any] = {}
    version: str
    sha256: str


def create_dataset(
    params: GymParams, seed: int, size: int, cache: Path | None = None, offline: bool = False
) -> Any:
    """The package's data set object, which gives rows by index and scores answers.

    Raises:
        DataError: The wheel cannot be had, another version is loaded, or the data set needs
            packages that are not installed.
        InputError: There is no such data set, or its configuration is refused.
    """
    with _importing:
        dataset_class, config_class = _classes(params, cache or cache_dir(), offline)
    try:
        return dataset_class(config_class(seed=seed, size=size, **params.config))
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(
            f"Reasoning Gym's {params.dataset} refuses the config {params.config}: {error}"
        ) from None


def final_answer(text: str) -> str:
    """The answer in `text`: between `<answer>` tags, after "answer:", or its last line."""
    if tagged := _TAGGED.findall(text):
        return str(tagged[-1]).strip()
    if labelled := _LABELLED.findall(text):
        return str(labelled[-1]).strip().strip("*").strip()
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def reasoning_gym(sample: Sample, answers: Sequence[Response], params: GymParams) -> Score:
    """`score` is the package's own (it may give parts of a point), `accuracy` whether it is 1."""
    dataset = _scoring_dataset(canonical(params))

    def judge(answer: Response) -> Verdict:
        found = final_answer(final_text(answer))
        score = float(dataset.score_answer(found, sample.doc)) if found else 0.0
        values = {"accuracy": float(score >= 1.0), "score": score}
        return Verdict(values=values, extracted=found, parsed=bool(found))

    return mean_score(answers, judge)


@functools.lru_cache(maxsize=64)
def _scoring_dataset(params: bytes) -> Any:
    return create_dataset(msgspec.json.decode(params, type=GymParams), seed=0, size=1)


def _classes(params: GymParams, cache: Path, offline: bool) -> tuple[Any, Any]:
    key = (params.dataset, params.version, params.sha256)
    if key not in _imported:
        name = _PACKAGE.replace("_", "-")
        folder = fetch_package(name, params.version, params.sha256, cache, offline)
        _imported[key] = _import(params, folder / _PACKAGE)
    return _imported[key]


def _import(params: GymParams, folder: Path) -> tuple[Any, Any]:
    _mount(folder)
    parts = params.dataset.split(".")
    if not _exists(folder, parts):
        raise InputError(
            f"Reasoning Gym {params.version} has no data set {params.dataset!r}; "
            "write its module, for example arithmetic.chain_sum"
        )
    for depth in range(1, len(parts)):
        _as_folder(".".join([_PACKAGE, *parts[:depth]]), folder.joinpath(*parts[:depth]))
    try:
        importlib.import_module(f"{_PACKAGE}.coaching")  # first: it and factory import each other
        importlib.import_module(f"{_PACKAGE}.{params.dataset}")
    except ModuleNotFoundError as error:
        raise DataError(
            f"Reasoning Gym's {params.dataset} needs the package {error.name!r}: "
            f"pip install {error.name}"
        ) from None
    return _registered(f"{_PACKAGE}.{params.dataset}")


def _registered(module: str) -> tuple[Any, Any]:
    """The data set and configuration classes that importing `module` registered."""
    datasets = importlib.import_module(f"{_PACKAGE}.factory").DATASETS
    for dataset_class, config_class in datasets.values():
        if dataset_class.__module__ == module:
            return dataset_class, config_class
    raise InputError(f"Reasoning Gym's module {module!r} registers no data set")


def _mount(folder: Path) -> None:
    """Make the package at `folder` the one that is imported; its parent's name tells versions."""
    loaded = sys.modules.get(_PACKAGE)
    if loaded is not None:
        place = Path(next(iter(loaded.__path__)))
        if place.parent.name != folder.parent.name:
            raise DataError(
                f"Another copy of {_PACKAGE} is already imported in this process, from {place}; "
                "one process can use only one"
            )
    _as_folder(_PACKAGE, folder)


def _as_folder(name: str, folder: Path) -> None:
    """Make `name` importable as a package whose `__init__` does not run."""
    if name in sys.modules:
        return
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[name] = importlib.util.module_from_spec(spec)


def _exists(folder: Path, parts: Sequence[str]) -> bool:
    named = len(parts) > 1 and all(part.isidentifier() for part in parts)
    return named and folder.joinpath(*parts).with_suffix(".py").is_file()


REASONING_GYM = Scorer(
    name="reasoning_gym",
    version="1",
    params=GymParams,
    score=reasoning_gym,
    metrics=named("accuracy", "score"),
)
