"""A task's YAML as typed records, checked when it is read.

A text with braces is a Jinja template over the row; one without names a field of it, where a
value is asked for (`target`, `choices`, `tools`, `id`, `cluster`). `docs/tasks.md` explains it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from evalkit.config.yaml import Definition, Document, convert, read_document
from evalkit.data.source import RowSource
from evalkit.errors import ConfigError, InputError
from evalkit.records import Mode
from evalkit.scoring.registry import BoundScorer, bind
from evalkit.tasks.generators.generator import find_generator, read_params
from evalkit.tasks.prompts import Condition, Template, Value


class Variants(Definition, frozen=True, kw_only=True):
    """A text that differs by how the task is put: the mode's wins, then the style's."""

    default: str = ""
    chat: str | None = None
    text: str | None = None
    generate: str | None = None
    letter: str | None = None
    loglikelihood: str | None = None
    tools: str | None = None

    def of(self, style: Literal["chat", "text"], mode: Mode) -> str:
        """The text for a style and a mode."""
        by_mode = getattr(self, mode, None)
        by_style = self.chat if style == "chat" else self.text
        return next((text for text in (by_mode, by_style) if text is not None), self.default)


class Turn(Definition, frozen=True, kw_only=True):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str | Variants


class Fewshot(Definition, frozen=True, kw_only=True):
    """Worked examples.

    Args:
        count: How many stand before each question, unless the run says otherwise.
        source: Where their rows are; without it and `examples`, a generated task draws more.
        examples: The rows themselves.
        choose: The first ones, or a draw by the run's seed; the same for every question.
    """

    count: int = 0
    source: RowSource | None = None
    examples: tuple[dict[str, Any], ...] = ()
    choose: Literal["first", "random"] = "first"


class Use(Definition, frozen=True, kw_only=True):
    """A scorer by its name, with its parameters."""

    name: str
    params: dict[str, Any] = {}


class GeneratorUse(Use, frozen=True, kw_only=True):
    """A generator by its name: the rows it gives are fixed by parameters, seed and size."""

    seed: int = 1234
    size: int


class Join(Definition, frozen=True, kw_only=True):
    """Further fields for each row, from the row of another source that has the same `by`."""

    source: RowSource
    by: str = "id"


class MetricUse(Definition, frozen=True, kw_only=True):
    """One of the scorer's values, and how a task's number comes from it."""

    name: str
    aggregation: Literal["mean"] = "mean"
    higher_is_better: bool = True


class SamplingUse(Definition, frozen=True, kw_only=True):
    """How answers are drawn; `text_stop` are further stop sequences for raw prompts."""

    max_tokens: int | None = None
    temperature: float | None = 0.0
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    text_stop: tuple[str, ...] = ()


class TaskDefinition(Definition, frozen=True, kw_only=True):
    """A task's YAML; its kind is `generated` if it has a generator, else `declarative`."""

    name: str
    title: str = ""
    version: str
    category: str = ""
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""
    description: str = ""
    source: RowSource | None = None
    join: Join | None = None
    where: str = ""
    generator: GeneratorUse | None = None
    id: str = ""
    cluster: str = ""
    system: str | Variants = ""
    prompt: str | Variants = ""
    messages: tuple[Turn, ...] = ()
    target: str
    answer: str = ""
    choices: str | tuple[str, ...] = ""
    delimiter: str = " "
    tools: str = ""
    fewshot: Fewshot = Fewshot()
    scorer: Use | None = None
    metrics: tuple[MetricUse, ...] = ()
    sampling: SamplingUse = SamplingUse()
    repeats: int = 1

    @property
    def kind(self) -> Literal["declarative", "generated"]:
        """Which adapter loads it."""
        return "generated" if self.generator else "declarative"

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The ways it can be asked, the preferred one first."""
        if self.choices:
            return ("loglikelihood", "letter")
        return ("tools", "generate") if self.tools else ("generate",)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The messages of the prompt, without the task's own system instruction."""
        return self.messages or (Turn(role="user", content=self.prompt),)

    def bound_scorer(self) -> BoundScorer | None:
        """Its scorer; None for choices, which are scored by their own rule."""
        return bind(self.scorer.name, self.scorer.params) if self.scorer else None

    def metric_uses(self) -> tuple[MetricUse, ...]:
        """Its metrics: those listed, else all that its scorer gives."""
        scorer = self.bound_scorer()
        names = scorer.metrics if scorer else ("acc", "acc_norm")
        return self.metrics or tuple(MetricUse(name=name) for name in names)


def read_definition(path: Path) -> TaskDefinition:
    """The definition in the file at `path`.

    Raises:
        ConfigError: It is wrong; says file, line and key.
    """
    document = read_document(path)
    definition = convert(document, TaskDefinition)
    _check(document, definition)
    return definition


def _check(document: Document, definition: TaskDefinition) -> None:
    _check_parts(document, definition)
    _check_scoring(document, definition)
    _check_generator(document, definition)
    _check_templates(document, definition)


def _check_parts(document: Document, definition: TaskDefinition) -> None:
    if document.path and Path(document.path).stem != definition.name:
        raise document.error(
            f"is called {definition.name!r}: the file of a task has its name", "name"
        )
    if (definition.source is None) == (definition.generator is None):
        raise document.error("a task has either a `source` or a `generator` of its rows", "source")
    if bool(definition.prompt) == bool(definition.messages):
        raise document.error("a task has either a `prompt` or `messages`", "prompt")
    if definition.choices and (definition.scorer or definition.tools):
        raise document.error("a task with `choices` takes neither `scorer` nor `tools`", "choices")
    if not definition.choices and not definition.scorer:
        raise document.error("the key 'scorer' is missing", "name")
    if definition.repeats < 1:
        raise document.error(f"'repeats' must be at least 1, not {definition.repeats}", "repeats")


def _check_scoring(document: Document, definition: TaskDefinition) -> None:
    try:
        scorer = definition.bound_scorer()
    except InputError as error:
        raise document.error(str(error), "scorer") from None
    known = scorer.metrics if scorer else ("acc", "acc_norm")
    for index, metric in enumerate(definition.metrics):
        if metric.name not in known:
            raise document.error(
                f"metric {metric.name!r} is not one that the scorer gives: {', '.join(known)}",
                "metrics",
                index,
            )


def _check_generator(document: Document, definition: TaskDefinition) -> None:
    if (use := definition.generator) is None:
        return
    if use.size < 1:
        raise document.error(f"'size' must be at least 1, not {use.size}", "generator", "size")
    try:
        read_params(find_generator(use.name), use.params)
    except InputError as error:
        raise document.error(str(error), "generator") from None


def _check_templates(document: Document, definition: TaskDefinition) -> None:
    """Compile every template, so that a wrong one is found before any row is loaded."""
    for key in ("target", "answer", "id", "cluster", "tools"):
        _compile(document, Value, getattr(definition, key), key)
    for index, text in enumerate(_texts(definition.choices)):
        _compile(document, Value, text, "choices", index)
    for text in _texts(definition.system):
        _compile(document, Template, text, "system")
    for text in _texts(definition.prompt):
        _compile(document, Template, text, "prompt")
    for index, turn in enumerate(definition.messages):
        for text in _texts(turn.content):
            _compile(document, Template, text, "messages", index)
    if definition.where:
        _compile(document, Condition, definition.where, "where")


def _compile(document: Document, kind: Any, text: str, *place: str | int) -> None:
    try:
        kind(text, repr(place[0]))
    except ConfigError as error:
        raise document.error(str(error), *place) from None


def _texts(value: str | tuple[str, ...] | Variants) -> list[str]:
    if isinstance(value, Variants):
        texts = (getattr(value, name) for name in Variants.__struct_fields__)
        return [text for text in texts if text is not None]
    return [value] if isinstance(value, str) else list(value)
