"""What scoring wants of the nodes of a tree, and what has been found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.models.hf_tree import TOP, WORTH_KEEPING, Tree
from evalkit.models.tokens import Pair

Ids = tuple[int, ...]
#: Logits that are read in float32 at once: positions.
_POSITIONS = 128


class Likelihood(NamedTuple):
    """Log-probability (nats) of a continuation, and whether it is the greedy one."""

    logprob: float
    greedy: bool


class Want(NamedTuple):
    """Tokens of a pair's continuation that are predicted from `place` on in some node."""

    place: int
    pair: int
    tokens: Sequence[int]


class Cell(NamedTuple):
    """A token of a pair's continuation that is predicted at some place of a pass."""

    place: tuple[int, int]  # row of the batch, and place in it
    pair: int
    token: int


class Sums:
    """The log-likelihoods of pairs as they come together, stretch by stretch.

    Attributes:
        left: How many pairs are not complete.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self.left = len(pairs)
        self._sums = [0.0] * len(pairs)
        self._greedy = [True] * len(pairs)
        self._missing = [len(continuation) for _, continuation in pairs]

    def restart(self) -> list[int]:
        """The pairs that are not complete, what was found of them forgotten."""
        unfinished = [index for index, missing in enumerate(self._missing) if missing]
        for index in unfinished:
            self._sums[index], self._greedy[index] = 0.0, True
            self._missing[index] = len(self.pairs[index][1])
        return unfinished

    def add(self, pair: int, logprob: float, greedy: bool) -> None:
        """One more token of a pair's continuation."""
        self._sums[pair] += logprob
        self._greedy[pair] &= greedy
        self._missing[pair] -= 1
        self.left -= self._missing[pair] == 0

    def likelihoods(self) -> list[Likelihood]:
        """What was found, in order."""
        return [Likelihood(*both) for both in zip(self._sums, self._greedy, strict=True)]


class Wanted:
    """A tree over the rows of some pairs, and what is wanted of its nodes.

    A row is a context and its continuation but for the last token, which is only predicted.

    Args:
        pairs: All of them.
        chosen: Which of them.
        known: How many tokens of the beginning of a row are at hand.

    Attributes:
        tree: The tree; what is at hand ends with a node.
        at_hand: Nodes that are at hand with all above them, and of which nothing is wanted.
    """

    def __init__(
        self,
        pairs: Sequence[Pair] | Mapping[int, Pair],
        chosen: Iterable[int],
        known: Callable[[Ids], int],
    ) -> None:
        rows = {index: row_of(pairs[index]) for index in chosen}
        at_hand = {row: known(row) for row in set(rows.values())}
        beginnings = {_beginning(pairs[i], row, at_hand[row]) for i, row in rows.items()} - {()}
        self.tree = Tree(sorted({*rows.values(), *beginnings}))
        places = {row: place for place, row in enumerate(self.tree.rows)}
        self._wants: dict[int, list[Want]] = {}
        for index, row in rows.items():
            self._want(index, pairs[index], places[row])
        self.at_hand = frozenset().union(*(self._unwanted(places[one]) for one in beginnings))

    def take(self, node: int) -> list[Want]:
        """What is wanted of a node, which is asked once only."""
        return self._wants.pop(node, [])

    def _want(self, index: int, pair: Pair, row: int) -> None:
        context, continuation = pair
        first = len(context) - 1
        for node, start, end in self.tree.stretches(row, first):
            place, tokens = (
                start - self.tree.nodes[node].start,
                continuation[start - first : end - first],
            )
            self._wants.setdefault(node, []).append(Want(place, index, tokens))

    def _unwanted(self, row: int) -> set[int]:
        """The nodes of a path from the top down to the first of which something is wanted."""
        node, path = self.tree.ends[row], []
        while node != TOP:
            path.append(node)
            node = self.tree.nodes[node].parent
        found: set[int] = set()
        for node in reversed(path):
            if node in self._wants:
                break
            found.add(node)
        return found


def row_of(pair: Pair) -> Ids:
    """What the model reads to score a pair."""
    return tuple(pair[0] + pair[1][:-1])


def _beginning(pair: Pair, row: Ids, known: int) -> Ids:
    """What need not be computed of a row; nothing where it is too little to matter."""
    length = min(known, len(pair[0]) - 1)
    return row[:length] if length * WORTH_KEEPING >= len(row) else ()


def read(logits: Any, places: Sequence[tuple[int, int]], cells: Sequence[Cell], sums: Sums) -> None:
    """Add what logits say of tokens.

    Args:
        logits: `[places, vocabulary]`.
        places: Where they were computed.
        cells: Which tokens are predicted there.
        sums: Where it is added.
    """
    import torch

    order = {place: index for index, place in enumerate(places)}
    at = torch.tensor([order[cell.place] for cell in cells], device=logits.device)
    tokens = torch.tensor([cell.token for cell in cells], device=logits.device)
    # in parts, so that the copy in float32 is small
    totals = torch.cat([part.float().logsumexp(-1) for part in logits.split(_POSITIONS)])
    logprobs = (logits[at, tokens].float() - totals[at]).tolist()
    greedy = (logits.argmax(-1)[at] == tokens).tolist()
    for cell, logprob, best in zip(cells, logprobs, greedy, strict=True):
        sums.add(cell.pair, logprob, best)
