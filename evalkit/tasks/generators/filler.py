"""Filler: sentences that mean little and hold no numbers, drawn from a small grammar."""

from __future__ import annotations

import numpy as np

_WHO = [
    "The gardener",
    "A retired pilot",
    "The night clerk",
    "My neighbour",
    "The old miller",
    "A young baker",
    "The ferry captain",
    "Our teacher",
    "The stamp collector",
    "A travelling painter",
    "The beekeeper",
    "The harbour watchman",
    "A patient surveyor",
    "The choir leader",
    "The locksmith",
    "A quiet librarian",
]
_DID = [
    "carried",
    "repaired",
    "sketched",
    "counted",
    "polished",
    "described",
    "borrowed",
    "wrapped",
    "sorted",
    "admired",
    "measured",
    "painted",
    "photographed",
    "returned",
    "weighed",
    "labelled",
]
_WHAT = [
    "a wicker basket",
    "the copper kettle",
    "seven wooden chairs",
    "an unfinished letter",
    "the garden gate",
    "a jar of buttons",
    "the blue bicycle",
    "two brass lamps",
    "a bundle of maps",
    "the stone bench",
    "an empty birdcage",
    "the kitchen clock",
    "a pair of boots",
    "the rowing boat",
    "a box of candles",
    "the village bell",
]
_WHERE = [
    "near the railway bridge",
    "behind the post office",
    "at the edge of the orchard",
    "in the small courtyard",
    "beside the canal",
    "under the chestnut tree",
    "on the market square",
    "in the attic",
    "along the coast road",
    "outside the bakery",
    "by the garden wall",
    "at the top of the stairs",
]
_WHEN = [
    "before breakfast",
    "in the late afternoon",
    "while it rained",
    "on the first day of spring",
    "after the concert",
    "during the long strike",
    "once the fog had lifted",
    "that same evening",
    "early on Sunday",
    "when the fair was over",
    "a week later",
    "just before dusk",
]


def filler(random: np.random.Generator, length: int) -> list[str]:
    """Sentences of about `length` characters in all, never more."""
    sentences: list[str] = []
    while True:
        words = [_pick(random, part) for part in (_WHO, _DID, _WHAT, _WHERE, _WHEN)]
        sentence = f"{' '.join(words)}."
        length -= len(sentence) + 1
        if length < 0:
            return sentences
        sentences.append(sentence)


def _pick(random: np.random.Generator, part: list[str]) -> str:
    return part[int(random.integers(len(part)))]
