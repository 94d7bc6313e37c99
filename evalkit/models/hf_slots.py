"""Keys and values of answers in progress: one slot a row, each row at a length of its own.

`transformers`' own cache copies all of it at each step, and pads all rows to one length. Here a
step writes one place a row, rows come and go, and memory grows in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.models.hf_forward import Forward, Layers

#: Places that are added to every slot when the longest is full.
BLOCK = 64


class Slots:
    """The rows that are being written.

    Args:
        most: How many there can be at once.

    Attributes:
        lengths: The tokens of each row that were read.
        layers: One for each layer of the model, as `transformers`' cache takes them.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.lengths: list[int] = []
        self.layers: list[_Layer] = []

    def add(self, layers: Layers) -> None:
        """One more row.

        Args:
            layers: Its keys and values, `[heads, tokens, size of a head]`.
        """
        self.layers = self.layers or [_Layer(self.most, *both) for both in layers]
        for layer, (keys, values) in zip(self.layers, layers, strict=True):
            layer.put(len(self.lengths), keys, values)
        self.lengths.append(layers[0][0].shape[-2])

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Take rows out; the last ones move to their places.

        Returns:
            Where each row that stays was before.
        """
        order = list(range(len(self.lengths)))
        for place in sorted(gone, reverse=True):
            last = order.pop()
            if place < len(order):
                order[place] = last
        for layer in self.layers:
            layer.move([(new, old) for new, old in enumerate(order) if new != old])
        self.lengths = [self.lengths[old] for old in order]
        return order

    def cache(self) -> Any:
        """What the model is given for one step: one more token in every row."""
        import torch
        from transformers import DynamicCache

        device = self.layers[0].keys.device
        step = torch.tensor(self.lengths, device=device)
        for layer in self.layers:
            layer.begin(step.to(layer.keys.device), max(self.lengths) + 1)
        cache = DynamicCache()
        cache.layers = self.layers
        self.lengths = [length + 1 for length in self.lengths]
        return cache


def step(forward: Forward, slots: Slots, tokens: Sequence[int]) -> Any:
    """Read one more token in every row.

    Returns:
        The logits after it, `[rows, vocabulary]`.
    """
    import torch

    lengths = torch.tensor(slots.lengths)
    distance = lengths[:, None] - torch.arange(max(slots.lengths) + 1)
    placed = forward.placed(lengths[:, None], (distance >= 0)[:, None], distance[:, None])
    ids = torch.tensor([[token] for token in tokens], device=forward.model.device)
    output = forward.model(ids, past_key_values=slots.cache(), use_cache=True, **placed)
    return output.logits[:, -1]


class _Layer:
    """One layer's keys and values, `[rows, heads, places, size of a head]`.

    Has the methods of a layer of `transformers`' cache that a model calls.
    """

    is_sliding = False
    is_croppable = False
    is_initialized = True

    def __init__(self, most: int, keys: Any, values: Any) -> None:
        self.keys, self.values = _empty(most, keys), _empty(most, values)
        self._at: Any = None
        self._used = 0

    def put(self, row: int, keys: Any, values: Any) -> None:
        """Put a row's keys and values at a place."""
        length = keys.shape[-2]
        self.keys, self.values = _with_room(self.keys, length), _with_room(self.values, length)
        self.keys[row, :, :length] = keys
        self.values[row, :, :length] = values

    def move(self, places: Sequence[tuple[int, int]]) -> None:
        """Copy rows to new places, given as pairs of new and old."""
        for new, old in places:
            self.keys[new], self.values[new] = self.keys[old], self.values[old]

    def begin(self, at: Any, used: int) -> None:
        """Say where the next token of each row goes, and how many places are in use then."""
        self._at, self._used = at, used
        self.keys, self.values = _with_room(self.keys, used), _with_room(self.values, used)

    def update(self, keys: Any, values: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        import torch

        rows = torch.arange(len(self._at), device=self._at.device)
        self.keys[rows, :, self._at] = keys[:, :, 0]
        self.values[rows, :, self._at] = values[:, :, 0]
        used = slice(len(rows)), slice(None), slice(self._used)
        return self.keys[used], self.values[used]

    def get_seq_length(self) -> int:
        return self._used - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._used - 1 + query_length, 0


def _empty(rows: int, like: Any) -> Any:
    """Room for so many rows like this one, `[heads, tokens, size of a head]`."""
    heads, tokens, size = like.shape
    return like.new_zeros(rows, heads, tokens + BLOCK, size)


def _with_room(rows: Any, places: int) -> Any:
    """`rows` with at least so many places; those that are not written yet hold zeros."""
    if rows.shape[-2] >= places:
        return rows
    shape = (*rows.shape[:-2], places + BLOCK, rows.shape[-1])
    larger = rows.new_zeros(shape)
    larger[..., : rows.shape[-2], :] = rows
    return larger
