import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.needle import found_needles


@pytest.mark.parametrize(
    ("answer", "recall", "every"),
    [
        ("They are 1234567 and 7654321.", 1.0, 1.0),
        ("Only 1234567", 0.5, 0.0),
        ("12345678 and 7654321", 0.5, 0.0),
        ("", 0.0, 0.0),
        ("<think>1234567</think>7654321", 0.5, 0.0),
    ],
)
def test_recall_counts_the_needles_that_were_found(score, answer, recall, every):
    found = score("needle", answer, ["1234567", "7654321"])
    assert found.values == {"recall": recall, "all_found": every}


def test_one_needle_may_be_a_text(score):
    assert score("needle", "It is Blue.", "blue").values["recall"] == 1.0


def test_a_sample_without_needles_is_unscored(score):
    assert score("needle", "x", []).status == "unscored"


@given(st.text(), st.lists(st.text(min_size=1)))
def test_found_needles_are_some_of_them(text, needles):
    assert set(found_needles(text, needles)) <= set(needles)
