"""One pass of a plan (`evalkit.models.hf_tree`) through a causal language model.

A branching row stands in one sequence: explicit positions and a four-dimensional attention
mask make each token see its ancestors only, as if each path were alone. A batch of paths needs
neither: rows are padded on the right, and a causal model never looks ahead.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.models.hf_prefix import Kept
from evalkit.models.hf_tree import TOP, Pass, Tree

#: The keys and the values of each layer, `[1, heads, tokens, size of a head]`.
Layers = list[tuple[Any, Any]]


class Layout(NamedTuple):
    """Where a pass has its tokens.

    Attributes:
        rows: The token ids of each row, not padded.
        starts: For each row, its nodes and where they begin in it.
    """

    rows: list[list[int]]
    starts: list[dict[int, int]]

    @property
    def width(self) -> int:
        """Tokens in the longest row."""
        return max(len(row) for row in self.rows)

    @property
    def tokens(self) -> int:
        """Tokens in all rows."""
        return sum(len(row) for row in self.rows)


def layout(tree: Tree, one: Pass) -> Layout:
    """The rows of a pass."""
    found = Layout([], [])
    for nodes in one.rows:
        row: list[int] = []
        starts: dict[int, int] = {}
        for node in nodes:
            starts[node] = len(row)
            row += tree.tokens(node)
        found.rows.append(row)
        found.starts.append(starts)
    return found


def branches(tree: Tree, one: Pass) -> bool:
    """Whether some row is not one path from the prefix down."""
    return any(
        tree.nodes[node].parent != parent
        for nodes in one.rows
        for parent, node in zip((one.prefix, *nodes), nodes, strict=False)
    )


class Masks(NamedTuple):
    """The shape in which a model takes attention masks.

    Attributes:
        window: How many tokens back its sliding layers see, themselves included; None for all.
        by_type: Whether it takes one mask for each type of layer.
    """

    window: int | None = None
    by_type: bool = False

    def shaped(self, sees: Any, distance: Any, dtype: Any) -> Any:
        """What the model is given.

        Args:
            sees: Which key each query may see, `[rows, queries, keys]`, bool.
            distance: How many positions back each key is.
            dtype: The model's.
        """
        full = _additive(sees, dtype)
        if self.window is None:
            return full
        sliding = _additive(sees & (distance < self.window), dtype)
        if not self.by_type:
            return sliding
        return {"full_attention": full, "sliding_attention": sliding}


def _additive(sees: Any, dtype: Any) -> Any:
    import torch

    hidden = torch.finfo(dtype).min
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, hidden)[
        :, None
    ]


class Forward:
    """A model, asked for logits of some positions only.

    Args:
        model: A causal language model of `transformers`.
        masks: How it takes attention masks.
    """

    def __init__(self, model: Any, masks: Masks) -> None:
        self.model, self.masks = model, masks
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def batch(self, rows: Sequence[Sequence[int]], first: int, keep: bool) -> tuple[Any, Layers]:
        """The logits from position `first` on of rows that begin at position 0.

        Returns:
            `[rows, width - first, vocabulary]`, and keys and values where `keep` is set.
        """
        import torch

        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        options = {"logits_to_keep": width - first} if self._keeps else {}
        if keep:
            options |= {"past_key_values": _cache([])}
        output = self.model(ids.to(self.model.device), use_cache=keep, **options)
        logits = output.logits if self._keeps else output.logits[:, first:]
        return logits, _layers(output.past_key_values) if keep else []

    def after(
        self, prefix: Kept | None, ids: Sequence[int], wanted: Sequence[int], shape: Any = None
    ) -> tuple[Any, Layers]:
        """The logits of one row after a prefix.

        Args:
            prefix: What comes before; None for nothing.
            ids: The row.
            wanted: The places in it whose logits are needed; where there are none, one is
                computed for nothing.
            shape: The positions and the mask of a row that branches; None for a path.

        Returns:
            Logits `[wanted, vocabulary]`, and the keys and values of prefix and row.
        """
        import torch

        device = self.model.device
        options: dict[str, Any] = {} if shape is None else dict(shape)
        if self._keeps:
            # on the CPU, since a model on several devices ends on another than it begins on
            options["logits_to_keep"] = torch.tensor(wanted or [len(ids) - 1])
        output = self.model(
            torch.tensor([ids], device=device),
            past_key_values=_cache(prefix.layers if prefix else []),
            use_cache=True,
            **options,
        )
        logits = output.logits[0] if self._keeps else output.logits[0][list(wanted)]
        return logits, _layers(output.past_key_values)

    def shape(self, tree: Tree, one: Pass, before: int) -> dict[str, Any]:
        """Positions and mask of the only row of a pass, after `before` tokens."""
        import torch

        nodes = one.rows[0]
        lengths = torch.tensor([len(tree.nodes[node]) for node in nodes])
        spans = [(tree.nodes[node].start, tree.nodes[node].end) for node in nodes]
        positions = torch.cat([torch.arange(start, end) for start, end in spans])
        owner = torch.arange(len(nodes)).repeat_interleave(lengths)
        own = ancestors(tree, nodes)[owner][:, owner].tril()
        sees = torch.cat([torch.ones(len(owner), before, dtype=torch.bool), own], dim=1)
        distance = positions[:, None] - torch.cat([torch.arange(before), positions])
        return self.placed(positions[None], sees[None], distance[None])

    def placed(self, positions: Any, sees: Any, distance: Any) -> dict[str, Any]:
        """What tells the model where tokens stand and what they see.

        Args:
            positions: `[rows, queries]`.
            sees: Which key each query may see, `[rows, queries, keys]`, bool.
            distance: How many positions back each key is.
        """
        device = self.model.device
        mask = self.masks.shaped(sees.to(device), distance.to(device), self.model.dtype)
        return {"position_ids": positions.to(device), "attention_mask": mask}


def ancestors(tree: Tree, nodes: Sequence[int]) -> Any:
    """Which node (columns) is above each node, or is it, `[nodes, nodes]`, bool."""
    import torch

    places = {node: place for place, node in enumerate(nodes)}
    found = torch.eye(len(nodes), dtype=torch.bool)
    for place, node in enumerate(nodes):
        parent = tree.nodes[node].parent
        if parent != TOP and parent in places:
            found[place] |= found[places[parent]]
    return found


def _cache(layers: Layers) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    for index, (keys, values) in enumerate(layers):
        cache.update(keys, values, index)
    return cache


def _layers(cache: Any) -> Layers:
    return [(layer.keys, layer.values) for layer in cache.layers]
