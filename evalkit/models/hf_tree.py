"""Which tokens a model must compute for a set of rows, each shared prefix once.

The rows (token ids) are put into a radix tree: a node is a run of tokens that the same rows
share, and a row is the path from the top to the node that it ends in. A plan walks that tree:

- a branch of at most `budget` tokens is computed in one go, several such branches packed into
  one sequence, in which a token sees its own ancestors only;
- of a larger branch, the tokens that all its rows share are computed first and *kept*: their
  keys and values are what everything below is computed on;
- rows that share nothing with others go through the model as an ordinary padded batch.

No torch here: these are pure functions over token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Row = Sequence[int]

#: What stands above the top of the tree.
TOP = -1
#: A shared run of tokens is kept where that saves at least one part in so many.
WORTH_KEEPING = 32


@dataclass(slots=True)
class Node:
    """The tokens `row[start:end]`, shared by all rows below."""

    row: int
    start: int
    end: int
    parent: int = TOP
    children: list[int] = field(default_factory=list)
    #: Tokens of this node and of all below it.
    size: int = 0

    def __len__(self) -> int:
        return self.end - self.start


class Pass(NamedTuple):
    """One pass through the model.

    Attributes:
        prefix: The node whose path is kept already and comes before everything; `TOP` for none.
        rows: For each row of the batch the nodes in it, ancestors before descendants. Where there
            are several rows, each is a path from the top; only a row alone may branch.
        keep: Whether the keys and values of the row, a path then, are needed by later passes.
    """

    prefix: int
    rows: tuple[tuple[int, ...], ...]
    keep: bool = False


class Tree:
    """The radix tree of `rows`.

    Args:
        rows: Different from each other, none empty, sorted (`sorted(set(rows))`).

    Attributes:
        nodes: In no particular order.
        ends: The node in which each row ends.
        tops: The nodes that begin at position 0.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.nodes: list[Node] = []
        self.ends: list[int] = []
        self.tops: list[int] = []
        path: list[int] = []
        for index, row in enumerate(rows):
            shared = common_prefix(rows[index - 1], row) if index else 0
            self._climb(path, shared)
            self._add(path, Node(index, shared, len(row)))
            self.ends.append(path[-1])
        for top in self.tops:
            for node in reversed(list(self.below(top))):
                self._measure(self.nodes[node])

    def tokens(self, node: int) -> Row:
        """The tokens of one node."""
        found = self.nodes[node]
        return self.rows[found.row][found.start : found.end]

    def path(self, node: int) -> Row:
        """All tokens up to the end of `node`."""
        return self.rows[self.nodes[node].row][: self.nodes[node].end]

    def below(self, node: int) -> Iterator[int]:
        """`node` and everything below it, depth first, ancestors before descendants."""
        waiting = [node]
        while waiting:
            found = waiting.pop()
            yield found
            waiting += reversed(self.nodes[found].children)

    def stretches(self, row: int, first: int) -> Iterator[tuple[int, int, int]]:
        """The nodes that hold positions from `first` to the end of a row, the last one first.

        Yields:
            A node, and the first and the one behind the last such position in it.
        """
        node, end = self.ends[row], len(self.rows[row])
        while end > first:
            found = self.nodes[node]
            yield node, max(first, found.start), found.end
            node, end = found.parent, found.start

    @property
    def size(self) -> int:
        """Unique tokens: what must be computed at least."""
        return sum(self.nodes[top].size for top in self.tops)

    def _climb(self, path: list[int], shared: int) -> None:
        """Shorten `path` to the node that ends at `shared`, and cut one in two where none does."""
        last = None
        while path and self.nodes[path[-1]].end > shared:
            last = path.pop()
        if last is None or self.nodes[last].start >= shared:
            return
        lower = self.nodes[last]
        upper = Node(lower.row, lower.start, shared, lower.parent, [last])
        self.nodes.append(upper)
        siblings = self._siblings(lower.parent)
        siblings[siblings.index(last)] = len(self.nodes) - 1
        lower.start, lower.parent = shared, len(self.nodes) - 1
        path.append(len(self.nodes) - 1)

    def _add(self, path: list[int], node: Node) -> None:
        node.parent = path[-1] if path else TOP
        self.nodes.append(node)
        self._siblings(node.parent).append(len(self.nodes) - 1)
        path.append(len(self.nodes) - 1)

    def _siblings(self, parent: int) -> list[int]:
        return self.tops if parent == TOP else self.nodes[parent].children

    def _measure(self, node: Node) -> None:
        node.size = len(node) + sum(self.nodes[child].size for child in node.children)


def common_prefix(one: Row, other: Row) -> int:
    """How many tokens two rows share from their beginning."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:  # invariant: the first `low` agree, the first `high` do not
        middle = (low + high) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle)
    return low


def plan(
    tree: Tree, budget: int, most_rows: int, known: frozenset[int] = frozenset()
) -> list[Pass]:
    """The passes that compute every node, what is kept before what needs it.

    Every node is computed once, but for short ones that so much more hangs on that a pass of
    their own would cost more than it saves (a BOS token before all rows): at most
    1 / `WORTH_KEEPING` of the tokens are computed again.

    Args:
        tree: What is to be computed.
        budget: Tokens that go through the model at once. Only a single row may be longer.
        most_rows: Rows that go through the model at once.
        known: Nodes whose keys and values are at hand, with all above them.
    """
    passes: list[Pass] = []
    waiting = [_Level(TOP, (), tree.tops)]
    while waiting:
        level = waiting.pop()
        if level.keep:
            passes.append(level.keep)
        lead = sum(len(tree.nodes[node]) for node in level.lead)
        large = [n for n in level.nodes if n in known or _is_large(tree.nodes[n], budget - lead)]
        small = [node for node in level.nodes if node not in large]
        if level.prefix == TOP:
            chains = [node for node in small if not tree.nodes[node].children]
            small = [node for node in small if tree.nodes[node].children]
            passes += _batches(tree, level.lead, chains, budget, most_rows)
        passes += _packs(tree, level, small, budget - lead)
        waiting += [_below(tree, level, node, lead, node in known) for node in large]
    return passes


class _Level(NamedTuple):
    """Branches that begin where `lead` ends, which is repeated before each, after `prefix`."""

    prefix: int
    lead: tuple[int, ...]
    nodes: list[int]
    keep: Pass | None = None


def _below(tree: Tree, level: _Level, node: int, lead: int, known: bool) -> _Level:
    """What hangs on a node that is kept, or repeated where keeping it is not worth a pass."""
    row, children = (*level.lead, node), tree.nodes[node].children
    if known:
        return _Level(node, (), children)
    if _worth_keeping(tree.nodes[node], lead):
        return _Level(node, (), children, Pass(level.prefix, (row,), keep=True))
    return _Level(level.prefix, row, children)


def _is_large(node: Node, budget: int) -> bool:
    return bool(node.children) and node.size > budget


def _worth_keeping(node: Node, lead: int) -> bool:
    return (lead + len(node)) * (len(node.children) - 1) * WORTH_KEEPING >= node.size


def _batches(
    tree: Tree, lead: tuple[int, ...], nodes: Sequence[int], budget: int, most_rows: int
) -> list[Pass]:
    """Padded batches of rows that share nothing after `lead`."""
    batches = _runs(nodes, lambda node: tree.nodes[node].end, budget, most_rows)
    return [Pass(TOP, tuple((*lead, node) for node in batch)) for batch in batches]


def _runs(
    nodes: Sequence[int], length: Callable[[int], int], budget: int, most_rows: int
) -> Iterator[list[int]]:
    """Nodes by the length of their rows, longest first, so that batches need little padding."""
    batch: list[int] = []
    for node in sorted(nodes, key=length, reverse=True):
        if batch and ((len(batch) + 1) * length(batch[0]) > budget or len(batch) == most_rows):
            yield batch
            batch = []
        batch.append(node)
    if batch:
        yield batch


def _packs(tree: Tree, level: _Level, nodes: Sequence[int], budget: int) -> Iterator[Pass]:
    """Branches side by side in sequences of about equal length."""
    sizes = [tree.nodes[node].size for node in nodes]
    share = _fair_share(sum(sizes), budget)
    pack: list[int] = []
    length = 0
    for node, size in zip(nodes, sizes, strict=True):
        # a branch goes where more than half of it fits below the fair share
        if pack and (length + size > budget or length + size / 2 > share):
            yield Pass(level.prefix, ((*level.lead, *pack),))
            pack, length = [], 0
        pack += tree.below(node)
        length += size
    if pack:
        yield Pass(level.prefix, ((*level.lead, *pack),))


def _fair_share(total: int, budget: int) -> float:
    return total / max(1, -(-total // max(1, budget)))


def plain(tree: Tree, budget: int, most_rows: int) -> list[Pass]:
    """The passes that share nothing: each row from its first token on, as padded batches.

    A row that another one begins with is answered by the longer one.
    """
    leaves = [index for index, node in enumerate(tree.nodes) if not node.children]
    paths = {node: tuple(_path(tree, node)) for node in leaves}
    batches = _runs(leaves, lambda node: tree.nodes[node].end, budget, most_rows)
    return [Pass(TOP, tuple(paths[node] for node in batch)) for batch in batches]


def _path(tree: Tree, node: int) -> list[int]:
    path = []
    while node != TOP:
        path.append(node)
        node = tree.nodes[node].parent
    return path[::-1]
