"""A multiple-choice task for models that give no log-likelihoods: answer with the letter.

The question is the task's own, without its closing cue. Choices are listed under letters,
unless they are letters already and stand in the question. Listed choices are shuffled, by the
seed and their own text: in some tasks (BLiMP, TruthfulQA) the first is always right, and
models prefer some letters (Zheng et al., arXiv:2309.03882). Documents, their order and the
drawn worked examples are those of lm-eval; prompt and score are not, so that the result is
labelled with its mode and never compared with a log-likelihood score.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

import msgspec

from evalkit.errors import UnsupportedError
from evalkit.records import (
    Aggregate,
    Message,
    Record,
    Request,
    Response,
    Sample,
    Sampling,
    Score,
    content_hash,
)
from evalkit.scoring.choice import read_choice
from evalkit.tasks.lm_eval.adapter import LmEvalTask, gravest_status, multiple_input
from evalkit.tasks.lm_eval.aggregation import mean_aggregate
from evalkit.tasks.lm_eval.construct import Built
from evalkit.tasks.lm_eval.contexts import has_steady_examples
from evalkit.tasks.lm_eval.definitions import LETTER_MAX_TOKENS
from evalkit.tasks.protocol import Prompting, TaskRef, merge_sampling

_INSTRUCTION = (
    "Which choice is the right answer to the text above, or its right continuation? "
    "Reply with the letter of that choice and nothing else."
)
_BARE_INSTRUCTION = (
    "Which of these is the most correct and plausible text? "
    "Reply with the letter of that choice and nothing else."
)
_CHAT_SAMPLING = Sampling(max_tokens=LETTER_MAX_TOKENS)
_TEXT_SAMPLING = Sampling(max_tokens=16, stop=("\n",))
_CUE_LINE = re.compile(r"\s*\n[^\n]{0,30}[:：]\s*$|\s*\n[^\n]{0,60}\b(?:answer is|答案是)\s*$")
_CUE = re.compile(r"\s+(?:Answer|A)\s*[:：]\s*$")
#: How a text with a cue ends: nothing else need be searched for one.
_CUE_ENDS = (":", "：", "answer is", "答案是")
#: Worked examples that a task keeps as questions.
_KEPT_EXAMPLES = 4096
_LABEL = re.compile(r"\s*\(?([A-Z])[).]\s*")


class Question(Record, frozen=True, kw_only=True):
    """A question with lettered choices; `right` are the letters of right ones.

    `choices` is empty where the question's own text lists them.
    """

    text: str
    letters: tuple[str, ...]
    choices: tuple[str, ...] = ()
    right: tuple[str, ...] = ()

    def asked(self) -> str:
        """What the model is shown."""
        listed = "\n".join(f"{a}. {c}" for a, c in zip(self.letters, self.choices, strict=False))
        instruction = _INSTRUCTION if self.text else _BARE_INSTRUCTION
        return "\n\n".join(part for part in (self.text, listed, instruction) if part)


class LetterTask(LmEvalTask):
    """A multiple-choice task of lm-eval whose choices are asked for by letter."""

    def __init__(self, ref: TaskRef, built: Built, prompting: Prompting) -> None:
        self._kept: dict[int, Question] = {}  # worked examples by their place in the pool
        super().__init__(ref, built, prompting)
        self.scores_together = False
        self.info = msgspec.structs.replace(self.info, metrics=("acc",))

    def samples(self, limit: int | float | None) -> Iterator[Sample]:
        """lm-eval's documents in its order; the target is the right choice's letter."""
        for sample in super().samples(limit):
            right = question_of(self._task, self._doc(sample), self.prompting.seed).right
            yield msgspec.structs.replace(sample, target="".join(right))

    def requests(self, sample: Sample, answers: Sequence[Response]) -> Sequence[Request]:
        """One request: the question with its worked examples."""
        if answers:
            return ()
        with self._lock:
            prompt = self._context_at(sample.index)
        own = _CHAT_SAMPLING if self.prompting.style == "chat" else _TEXT_SAMPLING
        sampling = merge_sampling(own, self.prompting.sampling)
        return [Request(kind="generate", prompt=prompt, sampling=sampling)]

    def _context(self, index: int) -> str | tuple[Message, ...]:
        doc, task = self._asked[index], self._task
        system = self._system(doc)
        examples = self._examples(doc)
        question = question_of(task, doc, self.prompting.seed).asked()
        if self.prompting.style == "chat":
            turns = _turns(examples, question, self.prompting.multiturn is not False)
            return (*((Message(role="system", content=system),) if system else ()), *turns)
        blocks = [f"{e.asked()}\n\nAnswer: {e.right[0]}" for e in examples]
        return "\n\n".join([*([system] if system else []), *blocks, f"{question}\n\nAnswer:"])

    def _system(self, doc: Any) -> str:
        from lm_eval.api.utils import maybe_delimit

        config = self._task.config
        description = self._task.resolve_field(doc, config.description) or ""
        joined = maybe_delimit(self.prompting.system, description, config.fewshot_delimiter)
        return str(joined).strip()

    def _examples(self, doc: Any) -> Sequence[Question]:
        shots, task, seed = self.info.num_fewshot, self._task, self.prompting.seed
        if not shots:
            return ()
        if self._draws is not None and has_steady_examples(task):
            return [self._example_at(place) for place in self._draws.of(doc)]
        apart = task.fewshot_cfg.split == task.config.test_split
        drawn = task.sampler.sample(n=shots, eval_doc=doc if apart else None)
        return [_example(task, shot, seed) for shot in drawn]

    def _example_at(self, place: int) -> Question:
        assert self._draws is not None
        if place not in self._kept:
            if len(self._kept) >= _KEPT_EXAMPLES:
                del self._kept[next(iter(self._kept))]
            self._kept[place] = _example(self._task, self._draws.row(place), self.prompting.seed)
        return self._kept[place]

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        """Accuracy of the letter that was read; an answer without one counts as wrong."""
        question = question_of(self._task, self._doc(sample), self.prompting.seed)
        if not question.right:
            return Score(status="unscored", note="the row's target is none of its choices")
        letter = read_choice(answers[0].text, question.letters, question.choices)
        own = gravest_status(answers)
        return Score(
            status="unparsed" if own == "ok" and letter is None else own,
            values={"acc": float(letter in question.right)},
            extracted=letter,
        )

    def score_all(self, answered: Sequence[tuple[Sample, Sequence[Response]]]) -> list[Score]:
        """The scores of all samples, each by itself."""
        return [self.score(sample, answers) for sample, answers in answered]

    def aggregate(self, scores: Iterable[Score]) -> list[Aggregate]:
        """The mean accuracy."""
        counted = [s for s in scores if s.status not in ("error", "unscored")]
        values = [score.values["acc"] for score in counted]
        return [mean_aggregate("acc", "", values)] if values else []


def question_of(task: Any, doc: Any, seed: int) -> Question:
    """A document as a lettered question."""
    choices = [str(choice) for choice in task.doc_to_choice(doc)]
    if multiple_input(task):  # each choice is a beginning, and the target continues all of them
        texts = [f"{c}{task.config.target_delimiter}{task.doc_to_target(doc)}" for c in choices]
        return _question("", texts, task.doc_to_text(doc), seed)
    return _question(str(task.doc_to_text(doc)), choices, task.doc_to_target(doc), seed)


def _example(task: Any, doc: Any, seed: int) -> Question:
    """A worked example, by the task's own rules for examples."""
    few = task.fewshot_cfg
    choices = [str(choice) for choice in task.doc_to_choice(doc, few.doc_to_choice)]
    text = task.doc_to_text(doc, few.doc_to_text)
    target = task.doc_to_target(doc, few.doc_to_target)
    if multiple_input(task):
        texts = [f"{choice}{few.target_delimiter}{target}" for choice in choices]
        question = _question("", texts, text, seed)
    else:
        question = _question(str(text), choices, target, seed)
    if not question.right:
        raise UnsupportedError(
            f"Task {task.task_name!r} cannot be asked for letters: the worked example's "
            f"target {target!r:.60} is none of its choices"
        )
    return question


def _question(text: str, choices: list[str], target: Any, seed: int) -> Question:
    places = right_places(target, choices)
    text = _without_cue(text)
    labels = [choice.strip().strip("().") for choice in choices]
    if _are_listed(labels, text):
        right = tuple(labels[place] for place in places)
        return Question(text=text, letters=tuple(labels), right=right)
    letters, order = _letters(len(choices)), list(range(len(choices)))
    random.Random(content_hash(seed, text, choices)).shuffle(order)  # noqa: S311 - no secret
    bare = _without_labels(choices)
    return Question(
        text=text,
        letters=letters,
        choices=tuple(bare[place] for place in order),
        right=tuple(letters[order.index(place)] for place in places),
    )


def _without_labels(choices: Sequence[str]) -> list[str]:
    """Choices without labels of their own ("(A) Paris"), where each has the one of its place."""
    found = [_LABEL.match(choice) for choice in choices]
    if [match and match[1] for match in found] == list(ascii_uppercase[: len(choices)]):
        return [c[match.end() :].strip() for c, match in zip(choices, found, strict=True) if match]
    return [choice.strip() for choice in choices]


def right_places(target: Any, choices: Sequence[str]) -> list[int]:
    """The places of the right choices, by lm-eval's reading of a target: place, text, or a list."""
    if isinstance(target, list | tuple):
        return [place for item in target for place in right_places(item, choices)]
    if isinstance(target, str):
        return [list(choices).index(target)] if target in choices else []
    return [int(target)] if 0 <= int(target) < len(choices) else []


def _are_listed(labels: Sequence[str], text: str) -> bool:
    """Whether the choices are single letters or digits that head lines or options in `text`."""
    if len(set(labels)) < len(labels) or any(len(label) != 1 for label in labels):
        return False
    return set(_heads(tuple(labels)).findall(text)) == set(labels)


@lru_cache(maxsize=64)
def _heads(labels: tuple[str, ...]) -> re.Pattern[str]:
    """Finds a label at the head of a line or an option: "A." or " (A)"."""
    return re.compile(rf"[{re.escape(''.join(labels))}](?<![^\s(\[].)(?=\s*[.):\]、．])")


def _letters(count: int) -> tuple[str, ...]:
    if count <= len(ascii_uppercase):
        return tuple(ascii_uppercase[:count])
    return tuple(str(number) for number in range(1, count + 1))


def _without_cue(text: str) -> str:
    """`text` without the words that call for the answer ("Answer:")."""
    said = text.rstrip()
    if said.endswith(_CUE_ENDS):
        # nothing matches before the white space that stands before the last line
        line = len(said[: max(0, said.rfind("\n"))].rstrip())
        for cue, start in ((_CUE_LINE, line), (_CUE, 0)):
            if match := cue.search(text, start):
                return text[: match.start()].strip()
    return said.strip()


def _turns(examples: Sequence[Question], question: str, multiturn: bool) -> tuple[Message, ...]:
    if multiturn:
        worked = (turn for example in examples for turn in _worked_turns(example))
        return (*worked, Message(role="user", content=question))
    blocks = [f"{example.asked()}\n\n{example.right[0]}" for example in examples]
    return (Message(role="user", content="\n\n".join([*blocks, question])),)


@lru_cache(maxsize=1024)
def _worked_turns(example: Question) -> tuple[Message, Message]:
    """An example's two turns, which all documents that show it share."""
    return (
        Message(role="user", content=example.asked()),
        Message(role="assistant", content=example.right[0]),
    )
