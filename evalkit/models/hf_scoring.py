"""Log-likelihoods of continuations under a causal language model of `transformers`.

What is computed: the sum of log softmax(logits) at the continuation's tokens, in float32 over
the model's logits, and whether each of these tokens is the most probable one.

Pairs that agree in all but their last token (the letters of a multiple choice) are one row,
logits are computed for scored positions only, and what rows share is computed once, where the
model allows it (`evalkit.models.hf_sharing`).

Memory beyond the weights: the activations of one pass, of which `Limits.tokens` is the bound
(a single longer row goes alone), the logits of its scored positions, the kept prefixes under
their own limit, and the prefix in use.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.models.hf_batches import Stopped, free_memory, is_out_of_memory, too_large
from evalkit.models.hf_forward import Forward, Layers, Layout, Masks, branches, layout
from evalkit.models.hf_prefix import Kept, Prefixes
from evalkit.models.hf_tree import TOP, Pass, Tree, plain, plan
from evalkit.models.hf_wants import Ids, Likelihood, Sums, Wanted, read, row_of
from evalkit.models.tokens import Pair


@dataclass(slots=True)
class Limits:
    """What goes through the model at once; `tokens` is halved for good when memory runs out."""

    tokens: int
    rows: int


class Sharing(NamedTuple):
    """How far a model's rows may share what is computed.

    Attributes:
        deepest: The longest row that may; 0 for none, None for any.
        masks: How the model takes attention masks.
        why: What is in the way, where something is.
    """

    deepest: int | None
    masks: Masks = Masks()
    why: str = ""

    def allows(self, tokens: int) -> bool:
        """Whether a row of so many tokens may share."""
        return self.deepest is None or tokens <= self.deepest


class Scorer:
    """Scores pairs with one model.

    Args:
        model: A causal language model of `transformers`.
        sharing: How far its rows may share what is computed.
        limits: What goes through it at once.
        prefixes: Where keys and values are kept.

    Attributes:
        tokens_asked: Tokens of all pairs so far, each pair for itself.
        tokens_computed: Tokens that went through the model, padding left out.
        tokens_padding: The padding.
        passes: How often the model was called.
        stop: Set from outside, it ends the work in progress after its current pass.
    """

    def __init__(self, model: Any, sharing: Sharing, limits: Limits, prefixes: Prefixes) -> None:
        self.sharing, self.limits, self.prefixes = sharing, limits, prefixes
        self.tokens_asked = self.tokens_computed = self.tokens_padding = self.passes = 0
        self.stop = threading.Event()
        self._forward = Forward(model, sharing.masks)
        #: The prefix of the latest pass, also where it is too large to be kept.
        self._latest: tuple[Ids, Kept] | None = None
        #: How many pairs were left when the kept prefixes were last given up for memory.
        self._gave_up_at = -1

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """The log-likelihoods of `pairs`, in order.

        Raises:
            MemoryError: One pair alone does not fit into memory.
            Stopped: `stop` was set.
        """
        self.tokens_asked += sum(len(row_of(pair)) for pair in pairs)
        sums = Sums(pairs)
        self._gave_up_at = -1
        try:
            while not self._scored(sums):
                # outside the except block, whose traceback would keep tensors alive
                self._latest = None
                free_memory()
        finally:
            self._latest = None
        return sums.likelihoods()

    def _scored(self, sums: Sums) -> bool:
        """Score what is not scored yet; False where memory ran out on the way."""
        unfinished = sums.restart()
        for shares in (True, False):
            chosen = [i for i in unfinished if self._shares(sums.pairs[i]) is shares]
            wanted = Wanted(sums.pairs, chosen, self.prefixes.known if shares else _nothing)
            for one in self._passes(wanted, shares):
                if self.stop.is_set():
                    raise Stopped
                try:
                    self._run(wanted, one, sums)
                except Exception as error:
                    self._shrink(error, wanted.tree, one, sums.left)
                    return False
        return True

    def _shares(self, pair: Pair) -> bool:
        return self.sharing.allows(len(pair[0]) + len(pair[1]) - 1)

    def _passes(self, wanted: Wanted, shares: bool) -> list[Pass]:
        tree, limits = wanted.tree, self.limits
        if shares:
            return plan(tree, limits.tokens, limits.rows, wanted.at_hand)
        return plain(tree, limits.tokens, limits.rows)

    def _run(self, wanted: Wanted, one: Pass, sums: Sums) -> None:
        import torch

        rows = layout(wanted.tree, one)
        cells = _cells(rows, wanted)
        with torch.inference_mode():
            if one.prefix == TOP and not one.keep and not branches(wanted.tree, one):
                logits = self._batch(rows, cells)
            else:
                logits = self._sequence(wanted.tree, one, rows, sorted({at for _, at, *_ in cells}))
            if cells:
                places = {cell[:2]: None for cell in sorted(cells)}
                order = {place: index for index, place in enumerate(places)}
                read(logits, [(order[row, at], pair, token) for row, at, pair, token in cells], sums)

    def _batch(self, rows: Layout, cells: Sequence[tuple[int, int, int, int]]) -> Any:
        """The logits at the cells' places, in order of row and place."""
        first = min((at for _, at, *_ in cells), default=rows.width - 1)
        logits = self._forward.batch(rows.rows, first)
        self._count(rows.tokens, len(rows.rows) * rows.width - rows.tokens)
        places = sorted({cell[:2] for cell in cells})
        return logits[[row for row, _ in places], [at - first for _, at in places]]

    def _sequence(self, tree: Tree, one: Pass, rows: Layout, wanted: Sequence[int]) -> Any:
        """The logits at the wanted places of the only row."""
        prefix = self._prefix(tree, one.prefix)
        before = prefix.length if prefix else 0
        shape = self._forward.shape(tree, one, before) if branches(tree, one) else None
        logits, layers = self._forward.after(prefix, rows.rows[0], wanted, shape)
        self._count(rows.tokens)
        if one.keep:
            self._keep(tuple(tree.path(one.rows[0][-1])), layers)
        return logits

    def _prefix(self, tree: Tree, node: int) -> Kept | None:
        """What is kept of the path to a node; computed again where it had to be given up."""
        if node == TOP:
            return None
        ids = tuple(tree.path(node))
        if self._latest is None or self._latest[0] != ids:
            known = self.prefixes.longest(ids)
            if known is None or known.length < len(ids):
                rest = ids[known.length if known else 0 :]
                _, layers = self._forward.after(known, rest, [])
                self._count(len(rest))
                self._keep(ids, layers)
            else:
                self._latest = ids, known
        assert self._latest is not None
        return self._latest[1]

    def _keep(self, ids: Ids, layers: Layers) -> None:
        self.prefixes.keep(ids, layers)
        self._latest = ids, Kept(len(ids), layers)

    def _count(self, tokens: int, padding: int = 0) -> None:
        self.tokens_computed += tokens
        self.tokens_padding += padding
        self.passes += 1

    def _shrink(self, error: Exception, tree: Tree, one: Pass, left: int) -> None:
        """Make what follows need less memory, or raise."""
        if not is_out_of_memory(error):
            raise error
        rows = layout(tree, one)
        if len(one.rows) > 1 or branches(tree, one):
            self.limits.tokens = max(1, len(rows.rows) * rows.width // 2)
        elif self._gave_up_at == left or not self.prefixes.clear():
            raise too_large() from error
        else:
            self._gave_up_at = left


def _nothing(_: Ids) -> int:
    return 0


def _cells(rows: Layout, wanted: Wanted) -> list[tuple[int, int, int, int]]:
    """What is wanted of a pass: row, place in it, pair and token."""
    return [
        (row, start + want.place + offset, want.pair, token)
        for row, starts in enumerate(rows.starts)
        for node, start in starts.items()
        for want in wanted.take(node)
        for offset, token in enumerate(want.tokens)
    ]
