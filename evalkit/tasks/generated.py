"""Tasks whose rows are made by a generator: the adapter of the kind `generated`.

Parameters, seed and size stand in the definition, so that everybody who runs a version of the
task sees the same rows; the run's own seed draws worked examples and nothing else.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.data.options import DataOptions
from evalkit.records import content_hash
from evalkit.tasks.declarative import DeclarativeTask, check_prompting, example_rows, wants_examples
from evalkit.tasks.generators.generator import find_generator, read_params
from evalkit.tasks.own.definition import GeneratorUse, TaskDefinition, read_definition
from evalkit.tasks.own.rows import RowsByIndex, TaskRows
from evalkit.tasks.protocol import Prompting, TaskRef

#: Rows that worked examples are drawn from, by another seed than the questions'.
_EXAMPLES, _EXAMPLE_SEED = 64, 1


def load(ref: TaskRef, prompting: Prompting, data: DataOptions) -> DeclarativeTask:
    """The task of `ref`, to be asked as `prompting` says.

    Raises:
        ConfigError: Its definition is wrong.
        UnsupportedError: It cannot be asked so.
        DataError: What its generator needs cannot be had.
    """
    path = Path(ref.path)
    definition = read_definition(path)
    assert definition.generator is not None, "a generated definition has a generator"
    check_prompting(definition, prompting)
    rows = generated_rows(definition.generator, data)
    examples = _examples(definition, prompting, data, path.parent)
    return DeclarativeTask(definition, prompting, rows, examples)


def generated_rows(use: GeneratorUse, data: DataOptions) -> TaskRows:
    """The rows that a generator gives for its parameters, seed and size.

    Raises:
        InputError: There is no such generator, or it refuses its parameters.
    """
    generator = find_generator(use.name)
    params = read_params(generator, use.params)
    fingerprint = content_hash(use.name, generator.version, params, use.seed, use.size)
    make = generator.make(params, use.seed, use.size, data)
    return RowsByIndex(use.size, make, f"generated:{fingerprint}")


def _examples(
    definition: TaskDefinition, prompting: Prompting, data: DataOptions, base: Path
) -> TaskRows | None:
    few, use = definition.fewshot, definition.generator
    if few.source or few.examples or use is None or not wants_examples(definition, prompting):
        return example_rows(definition, prompting, data, base)
    others = GeneratorUse(
        name=use.name, params=use.params, seed=use.seed + _EXAMPLE_SEED, size=_EXAMPLES
    )
    return generated_rows(others, data)
