"""Keys and values of answers in progress: one slot a row, each row at a length of its own.

`transformers`' own cache copies all of it at each step, and pads all rows to one length. Here a
step writes one place a row, rows come and go, and memory grows in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.models.hf_forward import Forward, Layers

#: Places that are added to every slot when the longest is full.
_BLOCK = 64


class Slots:
    """The rows that are being written.

    Attributes:
        lengths: The tokens of each row that were read.
        layers: One for each layer of the model, as `transformers`' cache takes them.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.layers: list[_Layer] = []

    def add(self, layers: Layers) -> None:
        """One more row.

        Args:
            layers: Its keys and values, `[heads, tokens, size of a head]`.
        """
        length = layers[0][0].shape[-2]
        self.layers = self.layers or [_Layer() for _ in layers]
        for layer, (keys, values) in zip(self.layers, layers, strict=True):
            layer.add(keys, values)
        self.lengths.append(length)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        self.lengths = [self.lengths[row] for row in rows]
        for layer in self.layers:
            layer.keep(rows)

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

    def __init__(self) -> None:
        self.keys: Any = None
        self.values: Any = None
        self._at: Any = None
        self._used = 0

    def add(self, keys: Any, values: Any) -> None:
        self.keys = _stacked(self.keys, keys)
        self.values = _stacked(self.values, values)

    def keep(self, rows: Sequence[int]) -> None:
        self.keys, self.values = self.keys[list(rows)], self.values[list(rows)]

    def begin(self, at: Any, used: int) -> None:
        """Say where the next token of each row goes, and how many places are in use then."""
        self._at, self._used = at, used
        self.keys, self.values = _with_room(self.keys, used), _with_room(self.values, used)

    def update(self, keys: Any, values: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        import torch

        rows = torch.arange(len(self._at), device=self._at.device)
        self.keys[rows, :, self._at] = keys[:, :, 0]
        self.values[rows, :, self._at] = values[:, :, 0]
        return self.keys[:, :, : self._used], self.values[:, :, : self._used]

    def get_seq_length(self) -> int:
        return self._used - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._used - 1 + query_length, 0


def _stacked(rows: Any, row: Any) -> Any:
    """`rows` and one more, all as long as the longest."""
    import torch

    if rows is None or not len(rows):
        return _with_room(row[None], row.shape[-2] + 1)
    rows = _with_room(rows, row.shape[-2])
    more = torch.zeros_like(rows[:1])
    more[0, :, : row.shape[-2]] = row
    return torch.cat([rows, more])


def _with_room(rows: Any, places: int) -> Any:
    """`rows` with at least so many places; those that are not written yet hold zeros."""
    import torch

    if rows.shape[-2] >= places:
        return rows
    shape = (*rows.shape[:-2], places + _BLOCK, rows.shape[-1])
    larger = torch.zeros(shape, dtype=rows.dtype, device=rows.device)
    larger[..., : rows.shape[-2], :] = rows
    return larger
