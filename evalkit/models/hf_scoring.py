"""Log-likelihoods of continuations under a causal language model of `transformers`.

What is computed: the sum of log softmax(logits) at the continuation's tokens, in float32 over
the model's logits, and whether each of these tokens is the most probable one. Rows are padded
on the right and need no attention mask: a causal model never looks ahead.

Pairs that agree in all but their last token (the letters of a multiple choice) go through the
model once, and logits are computed for scored positions only.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.models.hf_batches import Batches
from evalkit.models.tokens import Pair


class Likelihood(NamedTuple):
    """Log-probability (nats) of a continuation, and whether it is the greedy one."""

    logprob: float
    greedy: bool


class _Row(NamedTuple):
    """One pass through the model: its input, and the pairs that it answers."""

    ids: tuple[int, ...]
    scored: int  # the trailing positions that some pair needs
    members: list[int]


def score(model: Any, pairs: Sequence[Pair], batches: Batches) -> list[Likelihood]:
    """The log-likelihoods of `pairs`, in order.

    Raises:
        MemoryError: One pair alone does not fit into memory.
    """
    rows = _rows(pairs)
    answers = batches.map(rows, lambda batch: _score_rows(model, batch, pairs))
    by_pair: dict[int, Likelihood] = {}
    for row, likelihoods in zip(rows, answers, strict=True):
        by_pair.update(zip(row.members, likelihoods, strict=True))
    return [by_pair[index] for index in range(len(pairs))]


def _rows(pairs: Sequence[Pair]) -> list[_Row]:
    """The passes that `pairs` need, longest first: memory runs out at the start or never."""
    members: dict[tuple[int, ...], list[int]] = {}
    for index, (context, continuation) in enumerate(pairs):
        members.setdefault(tuple(context + continuation[:-1]), []).append(index)
    rows = [
        _Row(ids, max(len(pairs[i][1]) for i in indices), indices)
        for ids, indices in members.items()
    ]
    return sorted(rows, key=lambda row: (-len(row.ids), row.ids))


def _score_rows(model: Any, rows: Sequence[_Row], pairs: Sequence[Pair]) -> list[list[Likelihood]]:
    import torch

    width = max(len(row.ids) for row in rows)
    keep = width - min(len(row.ids) - row.scored for row in rows)
    ids = torch.tensor([row.ids + (0,) * (width - len(row.ids)) for row in rows])
    with torch.inference_mode():
        logits = last_logits(model, ids.to(model.device), keep)
        answers = []
        for row, row_logits in zip(rows, logits, strict=True):
            end = keep - (width - len(row.ids))
            scored = row_logits[end - row.scored : end]
            answers.append(_score_row(scored, [pairs[i][1] for i in row.members]))
    return answers


def _score_row(logits: Any, continuations: Sequence[list[int]]) -> list[Likelihood]:
    import torch

    logprobs = torch.log_softmax(logits.float(), dim=-1)
    best = logits.argmax(dim=-1)
    answers = []
    for continuation in continuations:
        ids = torch.tensor(continuation, device=logits.device)
        taken = logprobs[-len(ids) :].gather(1, ids[:, None])
        greedy = torch.equal(best[-len(ids) :], ids)
        answers.append(Likelihood(float(taken.sum()), greedy))
    return answers


def last_logits(model: Any, ids: Any, keep: int) -> Any:
    """The logits of the last `keep` positions, computed alone where the model can do so."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(ids, use_cache=False, logits_to_keep=keep).logits
    return model(ids, use_cache=False).logits[:, -keep:]
