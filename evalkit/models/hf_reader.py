"""Runs the passes of a plan, keeps what later passes need, and counts what was computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.models.hf_batches import Stopped, free_memory, is_out_of_memory, too_large
from evalkit.models.hf_forward import Forward, Layers, Layout, Masks, branches, layout
from evalkit.models.hf_prefix import Kept, Prefixes, kv_bytes
from evalkit.models.hf_tree import TOP, Pass, Tree, plain, plan

Ids = tuple[int, ...]
#: A row of a pass, and a place in it.
Place = tuple[int, int]


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
        writes: Whether answers may be written in slots.
    """

    deepest: int | None
    masks: Masks = Masks()
    why: str = ""
    writes: bool = True

    def allows(self, tokens: int) -> bool:
        """Whether a row of so many tokens may share."""
        return self.deepest is None or tokens <= self.deepest


class Read(NamedTuple):
    """What a pass gave.

    Attributes:
        layout: Where it had its tokens.
        logits: `[places, vocabulary]`, in order of row and place.
        layers: Keys and values `[rows, heads, before + width, size of a head]` of each layer.
        before: Tokens of the prefix, which come first in them.
    """

    layout: Layout
    logits: Any
    layers: Layers
    before: int


class Reader:
    """A model that reads trees of rows.

    Args:
        model: A causal language model of `transformers`.
        sharing: How far its rows may share what is computed.
        limits: What goes through it at once.
        prefixes: Where keys and values are kept.

    Attributes:
        tokens_computed: Tokens that went through the model, padding left out.
        tokens_padding: The padding.
        passes: How often the model was called.
        stop: Set from outside, it ends the work in progress after its current pass.
    """

    def __init__(self, model: Any, sharing: Sharing, limits: Limits, prefixes: Prefixes) -> None:
        self.sharing, self.limits, self.prefixes = sharing, limits, prefixes
        self.tokens_computed = self.tokens_padding = self.passes = 0
        self.stop = threading.Event()
        self.forward = Forward(model, sharing.masks)
        #: The prefix of the latest pass, also where it is too large to be kept.
        self._latest: tuple[Ids, Kept] | None = None
        #: How much was left to do when the kept prefixes were last given up for memory.
        self._gave_up_at = -1
        self._token_bytes: int | None = None

    def plan(self, tree: Tree, at_hand: frozenset[int], *, shares: bool) -> Iterator[Pass]:
        """The passes over a tree.

        Args:
            tree: The tree.
            at_hand: Nodes that need not be computed.
            shares: Whether its rows may share anything.

        Raises:
            Stopped: `stop` was set.
        """
        tokens, rows = self.limits.tokens, self.limits.rows
        found = plan(tree, tokens, rows, at_hand) if shares else plain(tree, tokens, rows)
        for one in found:
            if self.stop.is_set():
                raise Stopped
            yield one

    def read(
        self, tree: Tree, one: Pass, rows: Layout, places: Sequence[Place], *, keep: bool
    ) -> Read:
        """Run a pass.

        Args:
            tree: The tree.
            one: The pass.
            rows: Its layout.
            places: Where logits are needed, sorted.
            keep: Whether keys and values are needed.
        """
        import torch

        with torch.inference_mode():
            if one.prefix == TOP and not one.keep and not branches(tree, one):
                return self._batch(rows, places, keep)
            return self._sequence(tree, one, rows, [at for _, at in places])

    def bytes_per_token(self) -> int:
        """What the keys and values of one token take."""
        if self._token_bytes is None:
            import torch

            with torch.inference_mode():
                _, layers = self.forward.after(None, [0, 0], [])
            self._token_bytes = kv_bytes(layers) // 2
        return self._token_bytes

    def rest(self) -> None:
        """Let go of what only the next pass would need."""
        self._latest = None
        self._gave_up_at = -1

    def shrink(self, error: Exception, tree: Tree, one: Pass, left: int) -> None:
        """Make what follows need less memory.

        Args:
            error: What the pass raised.
            tree: The tree.
            one: The pass.
            left: How much is left to do; where nothing was done since prefixes were last given
                up, giving up more of them does not help.

        Raises:
            Exception: `error`, where it is not about memory.
            MemoryError: Nothing is left that could be halved or given up.
        """
        if not is_out_of_memory(error):
            raise error
        rows = layout(tree, one)
        if len(one.rows) > 1 or branches(tree, one):
            self.limits.tokens = max(1, len(rows.rows) * rows.width // 2)
        elif self._gave_up_at == left or not self.prefixes.clear():
            raise too_large() from error
        else:
            self._gave_up_at = left

    def recover(self) -> None:
        """Give memory back; outside the except block, whose traceback keeps tensors alive."""
        self._latest = None
        free_memory()

    def _batch(self, rows: Layout, places: Sequence[Place], keep: bool) -> Read:
        first = min((at for _, at in places), default=rows.width - 1)
        logits, layers = self.forward.batch(rows.rows, first, keep)
        self._count(rows.tokens, len(rows.rows) * rows.width - rows.tokens)
        logits = logits[[row for row, _ in places], [at - first for _, at in places]]
        return Read(rows, logits, layers, 0)

    def _sequence(self, tree: Tree, one: Pass, rows: Layout, wanted: Sequence[int]) -> Read:
        prefix = self._prefix(tree, one.prefix)
        before = prefix.length if prefix else 0
        shape = self.forward.shape(tree, one, before) if branches(tree, one) else None
        logits, layers = self.forward.after(prefix, rows.rows[0], wanted, shape)
        self._count(rows.tokens)
        if one.keep:
            self._keep(tuple(tree.path(one.rows[0][-1])), layers)
        return Read(rows, logits, layers, before)

    def _prefix(self, tree: Tree, node: int) -> Kept | None:
        """What is kept of the path to a node; computed again where it had to be given up."""
        if node == TOP:
            return None
        ids = tuple(tree.path(node))
        if self._latest is None or self._latest[0] != ids:
            known = self.prefixes.longest(ids)
            if known is None or known.length < len(ids):
                rest = ids[known.length if known else 0 :]
                _, layers = self.forward.after(known, rest, [])
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
