"""Keys and values of prefixes, kept under a limit of bytes."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from evalkit.models.hf_prefix import MOST_PREFIXES, Prefixes


def layers(tokens, fill=0.0):
    """Two layers, 16 bytes a token in all."""
    return [(torch.full((1, 1, tokens, 1), fill), torch.full((1, 1, tokens, 1), fill))] * 2


def test_the_longest_known_beginning_is_found():
    store = Prefixes(1000)
    store.keep((1, 2, 3), layers(3))
    store.keep((1, 2, 3, 4, 5), layers(5, fill=1.0))
    kept = store.longest((1, 2, 3, 4, 9))
    assert kept.length == store.known((1, 2, 3, 4, 9)) == 4
    assert [float(keys.sum()) for keys, _ in kept.layers] == [4.0, 4.0]


def test_what_begins_otherwise_is_not_known():
    store = Prefixes(1000)
    store.keep((1, 2, 3), layers(3))
    assert store.longest((2, 3)) is None and store.known((2, 3)) == 0


def test_what_was_used_longest_ago_is_given_up_first():
    store = Prefixes(16 * 8)
    store.keep((1,) * 4, layers(4))
    store.keep((2,) * 4, layers(4))
    store.longest((1,) * 4)
    store.keep((3,) * 4, layers(4))
    assert (store.known((1,)), store.known((2,)), store.known((3,))) == (1, 0, 1)
    assert store.bytes == store.most_bytes == 16 * 8


def test_what_is_larger_than_the_limit_is_not_kept():
    store = Prefixes(16 * 3)
    store.keep((1,) * 4, layers(4))
    assert store.bytes == 0 and store.longest((1,)) is None


def test_the_number_of_prefixes_is_bounded():
    store = Prefixes(10**9)
    for token in range(MOST_PREFIXES + 10):
        store.keep((token,), layers(1))
    assert store.bytes == 16 * MOST_PREFIXES


def test_clearing_tells_whether_there_was_anything():
    store = Prefixes(1000)
    store.keep((1,), layers(1))
    assert store.clear() and not store.clear() and store.bytes == 0
