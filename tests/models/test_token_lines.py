"""Texts taken apart at lines must have exactly the tokens that they have as a whole."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.models import token_lines
from evalkit.models.token_lines import LineTokens
from evalkit.models.tokens import TextTokenizer

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers  # noqa: E402

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "Question: what is it?\nA. one\nB. two\n\nAnswer: B\n\n",
    "the sky\n\n\nis   blue\n \n and é\u0301 12345\n9 grass\r\n\r\nQ",
]


def byte_level(**settings):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **settings)


SPLITTERS = {
    "gpt-2": byte_level(),
    "llama-3": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level(use_regex=False)]
    ),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()]),
}


def trained(splitter, normalizer=None, added=()):
    """A byte-level BPE tokenizer, trained here, with `splitter` before its merges."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = splitter
    if normalizer is not None:
        made.normalizer = normalizer
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>"
    )
    fast.add_tokens(list(added))
    return fast


TOKENIZERS = {name: trained(splitter) for name, splitter in SPLITTERS.items()}
TOKENIZERS["qwen"] = trained(SPLITTERS["llama-3"], normalizers.NFC())

pieces = st.sampled_from(
    ["\n", "\n\n", " ", "  ", "\t", "\r\n", "A", "b", "the", "Answer:", "7", "42", ".", "?", "é"]
    + ["e\u0301", "\u0301", "漢", "<s>", "'s", "/"]
)
texts = st.lists(pieces, max_size=40).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(some=st.lists(texts, min_size=1, max_size=4))
def test_lines_have_the_tokens_of_the_whole(name, some):
    tokenizer = TOKENIZERS[name]
    lines = LineTokens(tokenizer)
    lines._to_check = 0  # or the first texts would be encoded as a whole
    assert lines.by_lines
    for text in some:
        assert lines.encode(text) == tokenizer.encode(text, add_special_tokens=False)


def test_a_known_header_is_not_encoded_again():
    lines = LineTokens(TOKENIZERS["gpt-2"])
    lines._to_check = 0
    encoded = []

    class Counting:
        def encode(self, text, **how):
            encoded.append(text)
            return TOKENIZERS["gpt-2"].backend_tokenizer.encode(text, **how)

    lines._fast = Counting()
    header = "Question: one\nA. sky\nAnswer: A\n\n"
    for own in ("two", "three"):
        lines.encode(f"{header}Question: {own}\nA. grass\nAnswer:")
    assert [text for text in encoded if "one" in text or "sky" in text] == [
        "Question: one\nA",
        "A. sky\nA",
    ]
    assert len(encoded) == len(set(encoded))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(token_lines, "MOST_LINES", 10)
    lines = LineTokens(TOKENIZERS["gpt-2"])
    for number in range(100):
        lines.encode(f"{number}\nA")
    assert len(lines._known) <= 10


REFUSED = {
    "joins words": trained(pre_tokenizers.Metaspace()),
    "puts a space before": trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "looks back": trained(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"(?<=\n)\p{L}+|\s+|\S+"), "isolated"), byte_level()]
        )
    ),
    "keeps a line break with a letter": trained(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\s?\w+|\s+|\S"), "isolated"), byte_level(use_regex=False)]
        )
    ),
    "drops characters": trained(byte_level(), normalizers.Lowercase()),
    "a token eats white space": trained(byte_level(), added=[AddedToken("Answer", lstrip=True)]),
    "a token spans lines": trained(byte_level(), added=[AddedToken("\nA")]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_tokenizer_that_may_join_lines_encodes_whole_texts(why):
    lines = LineTokens(REFUSED[why])
    assert not lines.by_lines
    text = "the sky\nAnswer: B\n\nQ"
    assert lines.encode(text) == REFUSED[why].encode(text, add_special_tokens=False)


def test_a_tokenizer_caught_at_a_difference_is_not_taken_apart_again(caplog):
    tokenizer = REFUSED["a token spans lines"]
    lines = LineTokens(tokenizer)
    lines.by_lines = True  # as if its definition had not told
    with caplog.at_level(logging.WARNING):
        told = lines.encode("sky\nA")
    assert told == tokenizer.encode("sky\nA", add_special_tokens=False)
    assert not lines.by_lines
    assert "joins lines" in caplog.text


@settings(max_examples=100, deadline=None)
@given(context=texts, continuations=st.lists(texts, min_size=1, max_size=4))
def test_pairs_are_those_of_encoding_each_pair_as_a_whole(context, continuations):
    tokenizer = TOKENIZERS["gpt-2"]
    told = TextTokenizer(tokenizer).pairs(context, continuations)
    plain = TextTokenizer(tokenizer)
    plain._lines.by_lines = False
    expected = plain.pairs(context, continuations)
    assert [pair if isinstance(pair, tuple) else str(pair) for pair in told] == [
        pair if isinstance(pair, tuple) else str(pair) for pair in expected
    ]
