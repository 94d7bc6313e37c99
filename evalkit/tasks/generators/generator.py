"""What a generator is, and the generators by name.

A package adds one through the entry point group `evalkit.generators`, whose value names a
`Generator`. Row `i` must depend on parameters, seed and `i` alone: then a limit, a resumed run
and another machine see the same rows, and none is kept in memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from evalkit.config.yaml import Definition
from evalkit.data.options import DataOptions
from evalkit.errors import ConfigError, UnknownNameError

Params = TypeVar("Params", bound=Definition)
Row = dict[str, Any]

GROUP = "evalkit.generators"
_BUILT_IN = {
    "arithmetic": "evalkit.tasks.generators.arithmetic:ARITHMETIC",
    "needle": "evalkit.tasks.generators.needle:NEEDLE",
    "reasoning_gym": "evalkit.tasks.generators.gym:REASONING_GYM",
}


@dataclass(frozen=True)
class Generator(Generic[Params]):
    """A way to make rows.

    Attributes:
        name: What definitions call it.
        version: Raised whenever it makes other rows of the same parameters and seed.
        params: The record of its parameters.
        make: From parameters, seed, size and data options, the function from index to row.
    """

    name: str
    version: str
    params: type[Params]
    make: Callable[[Params, int, int, DataOptions], Callable[[int], Row]]


def row_random(seed: int, index: int) -> np.random.Generator:
    """The source of randomness of one row, independent of all other rows'."""
    return np.random.default_rng([seed, index])


def find_generator(name: str) -> Generator[Any]:
    """The generator called `name`.

    Raises:
        UnknownNameError: There is none.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        found = _from_entry_point(name)
    if not isinstance(found, Generator):
        raise ConfigError(
            f"entry point {name!r} of {GROUP} gives a {type(found).__name__}, not a Generator"
        )
    return found


def read_params(generator: Generator[Any], params: Mapping[str, Any]) -> Any:
    """`params` as the generator's record.

    Raises:
        UnknownNameError: A parameter that it does not have.
        ConfigError: One of the wrong type, or missing.
    """
    known = generator.params.__struct_fields__
    for key in params:
        if key not in known:
            raise UnknownNameError(f"parameter of generator {generator.name!r}:", key, known)
    try:
        return msgspec.convert(dict(params), generator.params)
    except msgspec.ValidationError as error:
        raise ConfigError(f"generator {generator.name!r}: {error}") from None


def _from_entry_point(name: str) -> Any:
    points = entry_points(group=GROUP)
    for entry in points:
        if entry.name == name:
            return entry.load()
    raise UnknownNameError("generator", name, [*_BUILT_IN, *(entry.name for entry in points)])
