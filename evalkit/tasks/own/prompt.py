"""Prompts of a definition: messages for chat models, one text for others, worked examples first."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from evalkit.errors import DataError
from evalkit.records import Message, Mode, Record
from evalkit.tasks.own.definition import TaskDefinition, Variants
from evalkit.tasks.own.rows import Row
from evalkit.tasks.prompts import Template, Value, as_text, letter
from evalkit.tasks.protocol import Prompting

_BETWEEN = "\n\n"
_LETTER_INSTRUCTION = "Answer with the letter of the right choice only."


class Example(Record, frozen=True, kw_only=True):
    """A question as turns, and its answer as a worked example shows it."""

    turns: tuple[Message, ...]
    answer: str


class Prompter:
    """Builds the prompts of one task, put in one way."""

    def __init__(self, definition: TaskDefinition, prompting: Prompting, mode: Mode) -> None:
        self._definition, self._prompting, self._mode = definition, prompting, mode
        self._turns = [(turn.role, self._template(turn.content)) for turn in definition.turns]
        self._system = self._template(definition.system)
        self._answer = Value(definition.answer, "'answer'") if definition.answer else None
        self._target = Value(definition.target, "'target'")
        texts = definition.choices
        self._choices = [
            Value(text, "'choices'") for text in ([texts] if isinstance(texts, str) else texts)
        ]
        # a `letter` prompt of the definition's own lists the choices itself
        own = (definition.prompt, *(turn.content for turn in definition.messages))
        self._lists_choices = any(isinstance(text, Variants) and text.letter for text in own)

    def prompt(self, row: Row, examples: Sequence[Row]) -> str | tuple[Message, ...]:
        """What the model is shown for `row` after the worked `examples`."""
        shown = [self._example(example) for example in examples]
        system = _BETWEEN.join(filter(None, (self._prompting.system, self._system_text(row))))
        turns = self._question(row)
        if self._prompting.style == "text":
            return self._as_text(system, shown, turns)
        return self._as_messages(system, shown, turns)

    def target(self, row: Row) -> Any:
        """What a right answer is; for choices the place of the right one."""
        target = self._target.of(row)
        return self._place(target, self.choices(row)) if self._definition.choices else target

    def choices(self, row: Row) -> list[str]:
        """The texts of the choices of `row`; none if it is not multiple choice."""
        if not self._definition.choices:
            return []
        if isinstance(self._definition.choices, tuple):
            return [as_text(choice.of(row)) for choice in self._choices]
        listed = self._choices[0].of(row)
        if not isinstance(listed, (list, tuple)) or len(listed) < 2:
            name = self._definition.name
            raise DataError(f"Task {name!r}: 'choices' gives no list of two or more: {listed!r}")
        return [as_text(choice) for choice in listed]

    def continuations(self, row: Row) -> list[str]:
        """The choices as they follow the prompt; a chat model's turn starts without a space."""
        delimiter = self._definition.delimiter if self._prompting.style == "text" else ""
        return [f"{delimiter}{choice}" for choice in self.choices(row)]

    def _template(self, content: str | Variants) -> Template:
        if isinstance(content, Variants):
            content = content.of(self._prompting.style, self._mode)
        return Template(content, f"the prompt of {self._definition.name!r}")

    def _system_text(self, row: Row) -> str:
        of_turns = (template.render(row) for role, template in self._turns if role == "system")
        return _BETWEEN.join(filter(None, (self._system.render(row), *of_turns)))

    def _question(self, row: Row) -> list[Message]:
        choices = self.choices(row)
        names = {"choices": choices} if choices else {}
        turns = [
            Message(role=role, content=template.render(row, **names))
            for role, template in self._turns
            if role != "system"
        ]
        if self._mode == "letter" and len(choices) > len(ascii_uppercase):
            name = self._definition.name
            raise DataError(f"Task {name!r} has a question of more choices than there are letters")
        if self._mode == "letter" and not self._lists_choices:
            lines = [f"{letter(i)}. {choice}" for i, choice in enumerate(choices)]
            listed = _BETWEEN.join([turns[-1].content, "\n".join(lines), _LETTER_INSTRUCTION])
            turns[-1] = Message(role="user", content=listed)
        return turns

    def _example(self, row: Row) -> Example:
        return Example(turns=tuple(self._question(row)), answer=self._answer_text(row))

    def _answer_text(self, row: Row) -> str:
        if self._mode == "letter":
            return letter(self.target(row))
        if self._answer is not None:
            return as_text(self._answer.of(row))
        target = self.target(row)
        return self.choices(row)[target] if self._definition.choices else as_text(target)

    def _place(self, target: Any, choices: Sequence[str]) -> int:
        """The place of the right choice, named by place, text or letter."""
        if isinstance(target, int) and 0 <= target < len(choices):
            return target
        if isinstance(target, str):
            text = target.strip()
            if text in choices:
                return list(choices).index(text)
            if text.isascii() and text.isdigit() and int(text) < len(choices):
                return int(text)
            if len(text) == 1 and 0 <= (place := ord(text) - ord("A")) < len(choices):
                return place
        raise DataError(
            f"Task {self._definition.name!r}: the target {target!r} is none of {list(choices)}"
        )

    def _as_messages(
        self, system: str, examples: Sequence[Example], turns: Sequence[Message]
    ) -> tuple[Message, ...]:
        first = (Message(role="system", content=system),) if system else ()
        if self._prompting.multiturn is not False:
            worked = [turn for example in examples for turn in _worked_turns(example)]
            return (*first, *worked, *turns)
        blocks = [self._block(example.turns, example.answer) for example in examples]
        opening = Message(role="user", content=_BETWEEN.join([*blocks, turns[0].content]))
        return (*first, opening, *turns[1:])

    def _as_text(self, system: str, examples: Sequence[Example], turns: Sequence[Message]) -> str:
        blocks = [self._block(example.turns, example.answer) for example in examples]
        return _BETWEEN.join(filter(None, [system, *blocks, self._block(turns, "")]))

    def _block(self, turns: Sequence[Message], answer: str) -> str:
        """A question and its answer as one text; a last turn of the assistant begins the answer."""
        begun = turns[-1].content if turns[-1].role == "assistant" else ""
        asked = turns[:-1] if begun else turns
        text = _BETWEEN.join(turn.content for turn in asked)
        return f"{text}{self._definition.delimiter}{begun}{answer}" if begun or answer else text


def _worked_turns(example: Example) -> tuple[Message, ...]:
    *before, last = example.turns
    if last.role == "assistant":
        return (*before, Message(role="assistant", content=f"{last.content}{example.answer}"))
    return (*before, last, Message(role="assistant", content=example.answer))
