"""Which prefixes are worth a place in Anthropic's cache: long ones that come again.

Writing a prefix to the cache costs a quarter more than reading it plainly, reading it back a
tenth. So a prefix is marked from its second appearance on: one that nobody shares costs
nothing extra, one that a whole task shares is paid in full twice.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from evalkit.models.parameters import estimate_tokens
from evalkit.records import canonical

Json = dict[str, Any]

_MARK = {"type": "ephemeral"}


class PrefixMemory:
    """The prefixes seen of late.

    Args:
        minimum: The shortest prefix that Anthropic caches, in tokens.
        places: How many prefixes to remember.
    """

    def __init__(self, minimum: int, places: int = 4096) -> None:
        self._minimum, self._places = minimum, places
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def mark(self, body: Json) -> None:
        """Mark in `body` the ends of its prefixes that are long enough and came before."""
        for prefix, last_block in _prefixes(body):
            text = canonical(prefix)
            if estimate_tokens(text.decode()) >= self._minimum and self._came_before(text):
                last_block["cache_control"] = _MARK

    def _came_before(self, text: bytes) -> bool:
        digest = hashlib.blake2b(text, digest_size=16).digest()
        seen = digest in self._seen
        self._seen[digest] = None
        self._seen.move_to_end(digest)
        if len(self._seen) > self._places:
            self._seen.popitem(last=False)
        return seen


def _prefixes(body: Json) -> Iterator[tuple[list[Any], Json]]:
    """Tools and system; those and all turns before the last; each with its last block."""
    head = [body.get("tools"), body.get("system")]
    earlier = body["messages"][:-1]
    # the longer prefix first: a mark on the shorter one must not change what it is known by
    if earlier:
        yield [*head, earlier], earlier[-1]["content"][-1]
    if body.get("system"):
        yield head, body["system"][-1]
