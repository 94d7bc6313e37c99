import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.records import Response
from evalkit.scoring.registry import bind
from evalkit.scoring.scorer import final_text
from evalkit.scoring.text import Normalisation, normalise, word_f1


@pytest.mark.parametrize(
    ("answer", "target", "params", "value"),
    [
        ("Paris", "paris", {}, 1.0),
        ("  Paris \n", "Paris", {}, 1.0),
        ("Paris.", "Paris", {}, 0.0),
        ("Paris.", "Paris", {"ignore_punctuation": True}, 1.0),
        ("The Paris", "Paris", {"ignore_articles": True}, 1.0),
        ("paris", "Paris", {"ignore_case": False}, 0.0),
        ("ﬁne", "fine", {}, 1.0),
        ("so\n\nParis\n", "Paris", {"last_line": True}, 1.0),
        ("Answer: 3\nAnswer: 4", "4", {"pattern": r"Answer: (\d)"}, 1.0),
        ("Rome", ["Paris", "Rome"], {}, 1.0),
        ("<think>Rome</think>Paris", "Paris", {}, 1.0),
    ],
)
def test_exact_match(score, answer, target, params, value):
    assert score("exact_match", answer, target, **params).values == {"exact_match": value}


@pytest.mark.parametrize("answer", ["", "  \n", "<think>it may be Paris"])
def test_an_answer_without_text_is_unparsed_and_wrong(score, answer):
    found = score("exact_match", answer, "Paris")
    assert (found.status, found.values) == ("unparsed", {"exact_match": 0.0})


def test_a_pattern_that_is_not_found_is_unparsed(score):
    assert score("exact_match", "Paris", "Paris", pattern="Answer: (.*)").status == "unparsed"


def test_a_wrong_pattern_is_refused_before_anything_is_asked():
    with pytest.raises(InputError, match="is not a regular expression"):
        bind("exact_match", {"pattern": "("}).check(1)


@pytest.mark.parametrize(
    ("answer", "target", "require", "value"),
    [
        ("It is Paris, in France", ["Rome", "paris"], "any", 1.0),
        ("It is Paris, in France", ["Paris", "France"], "all", 1.0),
        ("It is Paris", ["Paris", "France"], "all", 0.0),
        ("", "Paris", "any", 0.0),
    ],
)
def test_contains(score, answer, target, require, value):
    assert score("contains", answer, target, require=require).values == {"contains": value}


def test_f1_is_squads_worked_by_hand(score):
    # "cat sat on mat" against "cat on red mat": 3 words in common of 4 and 4
    found = score("f1", "The cat sat on a mat.", "a cat on the red mat")
    assert found.values == {"f1": pytest.approx(0.75), "exact_match": 0.0}


def test_f1_takes_the_best_target(score):
    assert score("f1", "blue", ["red", "blue"]).values == {"f1": 1.0, "exact_match": 1.0}


def test_answers_of_one_sample_are_averaged(score):
    assert score("exact_match", ["a", "b", "a", "a"], "a").values == {"exact_match": 0.75}


@pytest.mark.parametrize("status", ["truncated", "refused", "filtered"])
def test_the_status_of_an_answer_is_the_samples(score, status):
    found = score("exact_match", Response(text="a", status=status), "a")
    assert (found.status, found.values) == (status, {"exact_match": 1.0})


def test_no_answer_is_unscored_rather_than_wrong(score):
    assert score("exact_match", [], "a").status == "unscored"


@given(st.text(), st.text())
def test_word_f1_is_symmetric_and_at_most_one(one, other):
    assert word_f1(one, other) == word_f1(other, one)
    assert 0 <= word_f1(one, other) <= 1


@given(st.text())
def test_normalising_twice_changes_nothing_more(text):
    how = Normalisation(ignore_punctuation=True, ignore_articles=True)
    once = normalise(text, how)
    assert " ".join(once.split()) == once


@given(st.text())
def test_any_answer_has_a_final_text(text):
    assert "</think>" not in final_text(Response(text=text))
