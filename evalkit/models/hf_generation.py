"""Answers of a causal language model of `transformers`, cut as lm-eval 0.4.13 cuts them.

Prompts are padded on the left. A row ends at an end-of-sequence token of the model, when a stop
string appears in its text, or at its token limit; its text is then cut before the first stop
string, of which the tokenizer's end-of-sequence text is always one. Special tokens do not show.

A row's answer does not depend on the rows beside it: each stops for itself, and samples with
random numbers of its own (`evalkit.models.hf_sampling`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.models.hf_batches import Batches
from evalkit.models.hf_sampling import SeededChoice, is_greedy, warpers
from evalkit.records import Sampling


class Prompt(NamedTuple):
    """What one row starts from: tokens, the most that it may add, and the seed of its draws."""

    ids: list[int]
    room: int
    sampling: Sampling
    seed: int


class Answer(NamedTuple):
    """What one row came to; `finished` is False where the token limit ended it."""

    text: str
    tokens: int
    finished: bool


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], batches: Batches
) -> list[Answer]:
    """The answers to `prompts`, in order.

    Raises:
        MemoryError: One prompt alone does not fit into memory.
    """
    by_index: dict[int, Answer] = {}
    for sampling, indices in _groups(prompts).items():
        writer = _Writer(model, tokenizer, sampling, batches.stop)
        answers = batches.map([prompts[i] for i in indices], writer.answer)
        by_index.update(zip(indices, answers, strict=True))
    return [by_index[index] for index in range(len(prompts))]


def _groups(prompts: Sequence[Prompt]) -> dict[Sampling, list[int]]:
    """Prompts that may share a batch, longest first: memory runs out at the start or never."""
    groups: dict[Sampling, list[int]] = {}
    for index in sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].ids), prompts[i].ids)):
        groups.setdefault(prompts[index].sampling, []).append(index)
    return groups


class _Writer:
    """Writes answers under one `Sampling`."""

    def __init__(
        self, model: Any, tokenizer: Any, sampling: Sampling, stop: threading.Event
    ) -> None:
        self.model, self.tokenizer, self.sampling, self.stop = model, tokenizer, sampling, stop
        self.defaults = model.generation_config
        self.stops = _stops(tokenizer, sampling.stop)
        self.ends = _end_tokens(self.defaults.eos_token_id)

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        room = min(prompt.room for prompt in prompts)
        answers = self._answer(prompts, room)
        # a row whose own limit is further off than its batch's has it from a pass of its own
        return [
            answer
            if answer.finished or prompt.room == room
            else self._answer([prompt], prompt.room)[0]
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _answer(self, prompts: Sequence[Prompt], room: int) -> list[Answer]:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        ids, mask = _left_padded([prompt.ids for prompt in prompts], _pad_token(self.tokenizer))
        stopping = StopTexts(self.tokenizer, self.stops, ids.shape[1], len(prompts), self.stop)
        with torch.inference_mode():
            rows = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=room,
                do_sample=False,
                use_cache=True,
                pad_token_id=_pad_token(self.tokenizer),
                stopping_criteria=StoppingCriteriaList([stopping]),
                logits_processor=LogitsProcessorList(self._choices(prompts)),
            )
        written = rows[:, ids.shape[1] :].tolist()
        return [self._read(row, stopping.lengths[i]) for i, row in enumerate(written)]

    def _choices(self, prompts: Sequence[Prompt]) -> list[SeededChoice]:
        if is_greedy(self.sampling, self.defaults):
            return []
        shaped = warpers(self.sampling, self.defaults)
        return [SeededChoice([prompt.seed for prompt in prompts], shaped)]

    def _read(self, tokens: list[int], stopped_at: int | None) -> Answer:
        tokens = tokens[:stopped_at]
        end = next((i + 1 for i, token in enumerate(tokens) if token in self.ends), None)
        tokens = tokens[:end]
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        cut = cut_at_stops(text, self.stops)
        finished = stopped_at is not None or end is not None or cut != text
        return Answer(cut, len(tokens), finished)


class StopTexts:
    """A stopping criterion: a row is done when a stop string appears in what it wrote.

    Only the last tokens are read at each step: those that a stop string takes and two more,
    since a string can be written with other tokens than the tokenizer's own.
    """

    def __init__(
        self, tokenizer: Any, stops: Sequence[str], start: int, rows: int, stop: threading.Event
    ) -> None:
        self.tokenizer, self.stops, self.start, self.stop = tokenizer, stops, start, stop
        sizes = [len(tokenizer.encode(stop, add_special_tokens=False)) for stop in stops]
        self.lookback = max(sizes, default=0) + 2
        #: How many tokens each row had written when it was done.
        self.lengths: list[int | None] = [None] * rows

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows are done."""
        import torch

        written = input_ids[:, self.start :]
        if self.stops:
            texts = self.tokenizer.batch_decode(written[:, -self.lookback :])
            for row, text in enumerate(texts):
                if self.lengths[row] is None and any(stop in text for stop in self.stops):
                    self.lengths[row] = written.shape[1]
        done = [length is not None or self.stop.is_set() for length in self.lengths]
        return torch.tensor(done, device=input_ids.device)


def cut_at_stops(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


def _stops(tokenizer: Any, wanted: Sequence[str]) -> list[str]:
    end = tokenizer.eos_token_id
    own = [] if end is None else [tokenizer.decode(end, skip_special_tokens=False)]
    return [stop for stop in dict.fromkeys([*wanted, *own]) if stop]


def _end_tokens(ids: int | Sequence[int] | None) -> frozenset[int]:
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)


def _pad_token(tokenizer: Any) -> int:
    """What fills short rows; masked, so that any id will do where none is meant for it."""
    ids = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id, 0)
    return next(i for i in ids if i is not None)


def _left_padded(rows: Sequence[list[int]], pad: int) -> tuple[Any, Any]:
    import torch

    width = max(len(row) for row in rows)
    ids = [[pad] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
