"""Prompts as `ConfigurableTask.fewshot_context` makes them, each worked example rendered once.

lm-eval fills in the templates of all worked examples again for every document. Here an example's
turns are kept by its place in the pool, and the documents that show it share them. Only what is
lm-eval's own is done this way (`is_standard`): a task that overrides a step, or whose examples
may be another each time that they are rendered, is built by lm-eval's code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evalkit.records import Message, Record
from evalkit.tasks.lm_eval.draws import Draws, has_standard_sampler
from evalkit.tasks.protocol import Prompting

#: What must be lm-eval's own for its result to be known.
_STEPS = (
    "fewshot_context",
    "build_qa_turn",
    "construct_requests",
    "doc_to_choice",
    "doc_to_prefix",
    "doc_to_target",
    "doc_to_text",
    "resolve_field",
)
#: Rendered examples that a task keeps.
_KEPT = 4096


class Shot(Record, frozen=True, kw_only=True):
    """A worked example (or several): as raw text, and as turns of a conversation."""

    text: str = ""
    turns: tuple[Message, ...] = ()


class Contexts:
    """Builds the prompts of a standard task.

    Args:
        task: One of lm-eval's, settled and standard.
        prompting: How it is put.
        draws: Its worked examples; None where there are none.
    """

    def __init__(self, task: Any, prompting: Prompting, draws: Draws | None) -> None:
        self._task, self._prompting, self._draws = task, prompting, draws
        self._chat = prompting.style == "chat"
        self._multiturn = self._chat and prompting.multiturn is not False
        self._shots: dict[int, Shot] = {}
        self._header: tuple[Sequence[int], Shot] = ((), Shot())
        self._description = _constant(task, task.config.description)

    def of(self, doc: Any) -> str | tuple[Message, ...]:
        """The prompt of a document; draws its worked examples.

        Raises:
            Exception: Whatever the definition's own code raises.
        """
        system = self._system(doc)
        header = self._examples(self._draws.of(doc)) if self._draws else Shot()
        turns = self._question(doc)
        if self._multiturn:
            return (*_spoken(system), *header.turns, *(_message(turn) for turn in turns))
        if self._chat:
            return (*_spoken(system), *_in_one_turn(header.text, turns))
        return "".join([system, header.text, *(turn.to_text() for turn in turns)])

    def _system(self, doc: Any) -> str:
        from lm_eval.api.utils import maybe_delimit

        task, known = self._task, self._description
        said = known if known is not None else task.resolve_field(doc, task.config.description)
        system: str = maybe_delimit(
            self._prompting.system or None, said or "", task.config.fewshot_delimiter
        )
        return system

    def _question(self, doc: Any) -> list[Any]:
        task, config = self._task, self._task.config
        prefix = task.doc_to_prefix(doc)
        text = task.doc_to_text(doc)
        # lm-eval computes these two and uses neither: left out, unless something is drawn
        if config.doc_to_choice and not is_steady(config.doc_to_choice):
            task.doc_to_choice(doc)
        if not is_steady(config.doc_to_target):
            task.doc_to_target(doc)
        turns: list[Any] = task.build_qa_turn(
            q=text, gen_prefix=prefix, tgt_delim=config.target_delimiter, few_delim=""
        )
        return turns

    def _examples(self, places: Sequence[int]) -> Shot:
        """The examples one behind the other; those of the document before, if they are the same."""
        if places != self._header[0]:
            shots = [self._shot(place) for place in places]
            joined = Shot(
                text="".join(shot.text for shot in shots),
                turns=tuple(turn for shot in shots for turn in shot.turns),
            )
            self._header = (places, joined)
        return self._header[1]

    def _shot(self, place: int) -> Shot:
        if place not in self._shots:
            if len(self._shots) >= _KEPT:
                del self._shots[next(iter(self._shots))]
            assert self._draws is not None
            turns = self._worked(self._draws.row(place))
            self._shots[place] = Shot(
                text="" if self._multiturn else "".join(turn.to_text() for turn in turns),
                turns=tuple(map(_message, turns)) if self._multiturn else (),
            )
        return self._shots[place]

    def _worked(self, row: Any) -> list[Any]:
        """The turns of one example, as the loop in `fewshot_context` makes them."""
        task, few = self._task, self._task.fewshot_cfg
        text = task.doc_to_text(row, few.doc_to_text)
        choices = task.doc_to_choice(row, few.doc_to_choice) if few.doc_to_choice else None
        target = task.doc_to_target(row, few.doc_to_target)
        turns: list[Any] = task.build_qa_turn(
            q=text,
            c=choices,
            a=target,
            gen_prefix=task.resolve_field(row, few.gen_prefix),
            tgt_delim=few.target_delimiter,
            few_delim=few.fewshot_delimiter,
        )
        return turns


def contexts_of(task: Any, prompting: Prompting, draws: Draws | None) -> Contexts | None:
    """What builds the task's prompts; None where lm-eval's own code must."""
    shots = task.get_config("num_fewshot")
    if not is_standard(task) or (shots and (draws is None or not has_steady_examples(task))):
        return None
    return Contexts(task, prompting, draws)


def draws_of(task: Any) -> Draws | None:
    """The task's draws of worked examples; None where it has none, or draws in its own way."""
    shots = task.get_config("num_fewshot")
    return Draws(task, shots) if shots and has_standard_sampler(task) else None


def is_standard(task: Any) -> bool:
    """Whether every step from a document to a prompt is lm-eval's own."""
    from lm_eval.api.task import ConfigurableTask

    own = vars(task)
    return (
        isinstance(task, ConfigurableTask)
        and all(getattr(type(task), s) is getattr(ConfigurableTask, s) for s in _STEPS)
        and not any(step in own for step in _STEPS)
        and task.prompt is None
        and not task.multiple_input
    )


def has_steady_examples(task: Any) -> bool:
    """Whether a worked example is the same each time that it is rendered."""
    few, config = task.fewshot_cfg, task.config
    used = (
        few.doc_to_text if few.doc_to_text is not None else config.doc_to_text,
        few.doc_to_choice,
        few.doc_to_target if few.doc_to_target is not None else config.doc_to_target,
        few.gen_prefix,
    )
    return all(map(is_steady, used))


def is_steady(how: Any) -> bool:
    """Whether a field, template or function gives the same for the same row.

    A template does, unless it draws. Of a function only its file can be read: it is trusted
    where that does not so much as name `random` or `shuffle`.
    """
    if callable(how):
        return _names_no_chance(how.func if isinstance(how, partial) else how)
    return not isinstance(how, str) or "random" not in how


@lru_cache(maxsize=1024)
def _names_no_chance(function: Callable[..., Any]) -> bool:
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called, or written in C
        return False
    if file is None or not Path(file).is_file():
        return False
    source = Path(file).read_text(encoding="utf-8", errors="replace")
    return "random" not in source and "shuffle" not in source


def _constant(task: Any, text: Any) -> str | None:
    """What `resolve_field` gives for every document alike; None where it depends on the document.

    A template without marks gives itself, with its line ends as Jinja writes them.
    """
    if not text:
        return ""
    if not isinstance(text, str) or text in task.features or "{" in text:
        return None
    rendered: str = task.resolve_field({}, text)
    return rendered


def _spoken(system: str) -> tuple[Message, ...]:
    return (Message(role="system", content=system),) if system else ()


def _message(turn: Any) -> Message:
    # a text of NumPy's or Jinja's is a subclass, which JSON does not carry
    return Message(role=turn.role, content=str.__str__(turn.content))


def _in_one_turn(before: str, turns: Sequence[Any]) -> tuple[Message, ...]:
    """lm-eval's `multiturn_to_singleturn`: all in the user's turn but the answer's beginning."""
    *asked, last = turns if turns[-1].role == "assistant" else (*turns, None)
    texts = [before, *(turn.to_text() for turn in asked[:-1]), asked[-1].content]
    user = Message(role="user", content="".join(texts))
    return (user,) if last is None else (user, _message(last))
