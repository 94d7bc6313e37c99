"""Keys and values of shared prefixes, kept from one call to the next under a limit of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.models.hf_tree import common_prefix

#: Prefixes that are kept at most: each row is compared with all of them.
MOST_PREFIXES = 64


class Kept(NamedTuple):
    """A prefix whose keys and values are at hand.

    Attributes:
        length: Its tokens.
        layers: The keys and the values of each layer, `[1, heads, length, size of a head]`.
    """

    length: int
    layers: list[tuple[Any, Any]]


class Prefixes:
    """What a model has read already, the least recently used forgotten first.

    Args:
        limit: Bytes that are kept at most.

    Attributes:
        bytes: What is kept now.
        most_bytes: The most that was ever kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = self.most_bytes = 0
        self._kept: OrderedDict[tuple[int, ...], list[tuple[Any, Any]]] = OrderedDict()

    def known(self, ids: Sequence[int]) -> int:
        """How many tokens of the beginning of `ids` are kept."""
        return max((common_prefix(kept, ids) for kept in self._kept), default=0)

    def longest(self, ids: tuple[int, ...]) -> Kept | None:
        """The longest beginning of `ids` that is kept, or None."""
        best = max(self._kept, key=lambda kept: common_prefix(kept, ids), default=None)
        length = 0 if best is None else common_prefix(best, ids)
        if best is None or length == 0:
            return None
        self._kept.move_to_end(best)
        layers = self._kept[best]
        return Kept(length, [(k[..., :length, :], v[..., :length, :]) for k, v in layers])

    def keep(self, ids: tuple[int, ...], layers: list[tuple[Any, Any]]) -> None:
        """Remember the keys and values of `ids`; what is larger than the limit is not kept."""
        size = kv_bytes(layers)
        if ids in self._kept or size > self.limit:
            return
        while self.bytes + size > self.limit or len(self._kept) >= MOST_PREFIXES:
            self.bytes -= kv_bytes(self._kept.popitem(last=False)[1])
        self._kept[ids] = layers
        self.bytes += size
        self.most_bytes = max(self.most_bytes, self.bytes)

    def clear(self) -> bool:
        """Forget everything; whether there was anything."""
        found = bool(self._kept)
        self._kept.clear()
        self.bytes = 0
        return found


def kv_bytes(layers: Sequence[tuple[Any, Any]]) -> int:
    """What keys and values of all layers take."""
    return sum(_tensor_bytes(pair) for pair in layers)


def _tensor_bytes(pair: tuple[Any, Any]) -> int:
    return sum(int(tensor.nelement() * tensor.element_size()) for tensor in pair)
