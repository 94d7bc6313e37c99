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

from collections.abc import Sequence

from evalkit.models.hf_forward import Layout, layout
from evalkit.models.hf_reader import Reader
from evalkit.models.hf_tree import Pass
from evalkit.models.hf_wants import Cell, Ids, Likelihood, Sums, Wanted, read, row_of
from evalkit.models.tokens import Pair


class Scorer:
    """Scores pairs.

    Args:
        reader: The model.

    Attributes:
        tokens_asked: Tokens of all pairs so far, each pair for itself.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.tokens_asked = 0

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """The log-likelihoods of `pairs`, in order.

        Raises:
            MemoryError: One pair alone does not fit into memory.
            Stopped: The reader was told to stop.
        """
        self.tokens_asked += sum(len(row_of(pair)) for pair in pairs)
        sums = Sums(pairs)
        try:
            while not self._scored(sums):
                self.reader.recover()
        finally:
            self.reader.rest()
        return sums.likelihoods()

    def _scored(self, sums: Sums) -> bool:
        """Score what is not scored yet; False where memory ran out on the way."""
        unfinished = sums.restart()
        for shares in (True, False):
            chosen = [i for i in unfinished if self._shares(sums.pairs[i]) is shares]
            known = self.reader.prefixes.known if shares else _nothing
            wanted = Wanted(sums.pairs, chosen, known)
            for one in self.reader.plan(wanted.tree, wanted.at_hand, shares=shares):
                try:
                    self._run(wanted, one, sums)
                except Exception as error:
                    self.reader.shrink(error, wanted.tree, one, sums.left)
                    return False
        return True

    def _shares(self, pair: Pair) -> bool:
        return self.reader.sharing.allows(len(pair[0]) + len(pair[1]) - 1)

    def _run(self, wanted: Wanted, one: Pass, sums: Sums) -> None:
        rows = layout(wanted.tree, one)
        cells = _cells(rows, wanted)
        places = sorted({cell.place for cell in cells})
        found = self.reader.read(wanted.tree, one, rows, places, keep=False)
        if cells:
            read(found.logits, places, cells, sums)


def _nothing(_: Ids) -> int:
    return 0


def _cells(rows: Layout, wanted: Wanted) -> list[Cell]:
    """What is wanted of a pass."""
    return [
        Cell((row, start + want.place + offset), want.pair, token)
        for row, starts in enumerate(rows.starts)
        for node, start in starts.items()
        for want in wanted.take(node)
        for offset, token in enumerate(want.tokens)
    ]
