"""Answers of a causal language model of `transformers`.

Where the model allows it, answers are written by `evalkit.models.hf_writing`, which reads what
prompts share once. Elsewhere (a cache that cannot be branched, a generation configuration that
asks for more than temperature, top-k, top-p and min-p) the library's own `generate` writes them,
in batches that are padded on the left.

A row's answer does not depend on the rows beside it: each stops for itself, and samples with
random numbers of its own (`evalkit.models.hf_sampling`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from evalkit.models.hf_batches import Batches
from evalkit.models.hf_ends import Answer, Ends, Prompt
from evalkit.models.hf_reader import Reader
from evalkit.models.hf_sampling import SeededChoice, is_greedy, warpers
from evalkit.models.hf_writing import Writer
from evalkit.records import Sampling

#: What a generation configuration may ask for that only `generate` does, and what asks nothing.
_OWN_WISHES = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "num_beams": 1,
    "num_beam_groups": 1,
    "remove_invalid_values": False,
    "token_healing": False,
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "dola_layers": None,
    "exponential_decay_length_penalty": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "guidance_scale": None,
    "max_time": None,
    "min_new_tokens": None,
    "penalty_alpha": None,
    "prompt_lookup_num_tokens": None,
    "sequence_bias": None,
    "stop_strings": None,
    "suppress_tokens": None,
    "watermarking_config": None,
}


def generate(
    reader: Reader, tokenizer: Any, prompts: Sequence[Prompt], batches: Batches
) -> list[Answer]:
    """The answers to `prompts`, in order.

    Raises:
        MemoryError: One prompt alone does not fit into memory.
    """
    by_index: dict[int, Answer] = {}
    model = reader.forward.model
    plain = not reader.sharing.writes or _has_own_wishes(model.generation_config)
    for (sampling, shares), indices in _groups(prompts, reader, plain).items():
        chosen = [prompts[index] for index in indices]
        if shares:
            answers = Writer(reader, tokenizer, chosen).write()
        else:
            writer = _PlainWriter(model, tokenizer, sampling, batches.stop)
            answers = batches.map(chosen, writer.answer)
        by_index.update(zip(indices, answers, strict=True))
    return [by_index[index] for index in range(len(prompts))]


def _has_own_wishes(config: Any) -> bool:
    """Whether answers depend on more than `evalkit.models.hf_writing` looks at."""
    return any(
        getattr(config, wish, None) not in (None, nothing) for wish, nothing in _OWN_WISHES.items()
    )


def _groups(
    prompts: Sequence[Prompt], reader: Reader, plain: bool
) -> dict[tuple[Sampling, bool], list[int]]:
    """Prompts that may share a batch, longest first: memory runs out at the start or never."""
    groups: dict[tuple[Sampling, bool], list[int]] = {}
    for index in sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].ids), prompts[i].ids)):
        prompt = prompts[index]
        shares = not plain and reader.sharing.allows(len(prompt.ids) + prompt.room)
        groups.setdefault((prompt.sampling, shares), []).append(index)
    return groups


class _PlainWriter:
    """Lets `generate` write answers under one `Sampling`."""

    def __init__(
        self, model: Any, tokenizer: Any, sampling: Sampling, stop: threading.Event
    ) -> None:
        self.model, self.tokenizer, self.sampling, self.stop = model, tokenizer, sampling, stop
        self.defaults = model.generation_config
        self.ends = Ends(tokenizer, sampling.stop, self.defaults)

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
        stopping = StopTexts(self.ends, ids.shape[1], len(prompts), self.stop)
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
        return [self.ends.read(row, stopping.lengths[i]) for i, row in enumerate(written)]

    def _choices(self, prompts: Sequence[Prompt]) -> list[SeededChoice]:
        if is_greedy(self.sampling, self.defaults):
            return []
        shaped = warpers(self.sampling, self.defaults)
        return [SeededChoice([prompt.seed for prompt in prompts], shaped)]


class StopTexts:
    """A stopping criterion: a row is done when a stop string appears in what it wrote."""

    def __init__(self, ends: Ends, start: int, rows: int, stop: threading.Event) -> None:
        self.ends, self.start, self.stop = ends, start, stop
        #: How many tokens each row had written when it was done.
        self.lengths: list[int | None] = [None] * rows

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows are done."""
        import torch

        for row, written in enumerate(input_ids[:, self.start :].tolist()):
            if self.lengths[row] is None and self.ends.stops_in(written):
                self.lengths[row] = len(written)
        done = [length is not None or self.stop.is_set() for length in self.lengths]
        return torch.tensor(done, device=input_ids.device)


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
