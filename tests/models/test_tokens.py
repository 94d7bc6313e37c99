"""Tokenisation of pairs and windows, against lm-eval's own functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evalkit.models.tokens import TextTokenizer, rolling_windows


class Words:
    """A tokenizer whose tokens are characters, with an optional BOS of its own."""

    bos_token_id, eos_token_id, bos_token = 1, 2, "^"

    def __init__(self, adds_bos: bool = False) -> None:
        self.adds_bos = adds_bos

    def encode(self, text, add_special_tokens=None):
        adds = self.adds_bos if add_special_tokens is None else add_special_tokens
        return [1] * adds + [1 if char == "^" else ord(char) for char in text]

    def decode(self, token):
        return {1: "^", 2: "$"}.get(token) or chr(token)


@given(st.integers(0, 60), st.integers(1, 15))
def test_windows_are_lm_evals(size, max_length):
    tokens = list(range(size))
    expected = map(make_disjoint_window, get_rolling_token_windows(tokens, -1, max_length, 1))
    assert rolling_windows(tokens, -1, max_length) == [tuple(window) for window in expected]


@given(st.integers(0, 60), st.integers(1, 15))
def test_windows_predict_each_token_once_and_fit(size, max_length):
    windows = rolling_windows(range(size), -1, max_length)
    assert [token for _, predicted in windows for token in predicted] == list(range(size))
    assert all(len(a) + len(b) <= max_length + 1 and a for a, b in windows)


@given(st.text("ab ", max_size=8), st.text("ab ", min_size=1, max_size=8))
def test_a_pair_loses_and_adds_nothing(context, continuation):
    first, second = TextTokenizer(Words()).pair(context, continuation)
    whole = Words().encode(context + continuation)
    assert first + second == whole or first + second == [1, *whole]


def test_white_space_before_the_continuation_belongs_to_it():
    pair = TextTokenizer(Words()).pair("a ", "b")
    assert pair == ([ord("a")], [ord(" "), ord("b")])


def test_an_empty_context_is_the_prefix_token():
    assert TextTokenizer(Words()).pair("", "b") == ([1], [ord("b")])


def test_a_continuation_that_begins_with_the_prefix_token_brings_its_context_along():
    assert TextTokenizer(Words()).pair("", "^b") == ([1], [ord("b")])


def test_a_text_that_begins_with_bos_gets_no_second_one():
    assert TextTokenizer(Words(adds_bos=True)).encode("^a") == [1, ord("a")]


@pytest.mark.parametrize(("add_bos", "expected"), [(None, 1), (True, 1), (False, 0)])
def test_bos_is_the_tokenizers_choice_unless_set(add_bos, expected):
    assert TextTokenizer(Words(adds_bos=True), add_bos).encode("a").count(1) == expected


def test_a_tokenizer_without_bos_and_eos_cannot_score_after_nothing():
    tokenizer = Words()
    tokenizer.bos_token_id = tokenizer.eos_token_id = None
    with pytest.raises(ValueError, match="no BOS or EOS"):
        TextTokenizer(tokenizer).pair("", "b")


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="nothing to score"):
        TextTokenizer(Words()).pair("a", "")
