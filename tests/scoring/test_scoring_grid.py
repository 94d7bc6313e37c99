import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.records import Response
from evalkit.scoring.grid import read_grid
from evalkit.scoring.registry import bind

GRID = [[1, 0, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "text",
    [
        "1 0 3\n4 5 6",
        "The output is:\n\n1 0 3\n4 5 6\n\nbecause it is.",
        "9 9\n9 9\n\nso the answer:\n1 0 3\n4 5 6",
        "```\n1 0 3\n4 5 6\n```",
        "1, 0, 3\n4, 5, 6",
        "| 1 | 0 | 3 |\n| 4 | 5 | 6 |",
        "[[1, 0, 3], [4, 5, 6]]",
        "[[1,0,3],\n [4,5,6]]",
        "[1, 0, 3]\n[4, 5, 6]",
        "103\n456",
        "<think>9 9\n9 9</think>\n1 0 3\n4 5 6",
    ],
)
def test_right_grids(score, text):
    assert score("grid", text, GRID).values == {"exact_match": 1.0}


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("1 0 3\n4 5 7", ""),
        ("1 0\n4 5", "a grid of 2x2 where 2x3 is right"),
        ("1 0 3\n4 5", "no grid found"),
        ("I do not know", "no grid found"),
        ("", "no grid found"),
    ],
)
def test_wrong_grids(score, text, note):
    found = score("grid", text, GRID)
    assert (found.values, found.note) == ({"exact_match": 0.0}, note)


def test_one_right_attempt_is_enough(score):
    answers = ["1 1 1\n1 1 1", "1 0 3\n4 5 6", "1 1 1\n1 1 1"]
    assert score("grid", answers, GRID, attempts=2).values == {"exact_match": 1.0}
    assert score("grid", answers, GRID, attempts=1).values == {"exact_match": 0.0}


def test_more_attempts_than_answers_are_refused():
    with pytest.raises(InputError, match="set repeats to as many"):
        bind("grid", {"attempts": 2}).check(1)


def test_a_refused_answer_keeps_its_status(score):
    assert score("grid", Response(status="refused"), GRID).status == "refused"


@given(st.text())
def test_any_text_holds_a_grid_or_none(text):
    grid = read_grid(text)
    assert grid is None or len({len(row) for row in grid}) == 1


@given(st.text(alphabet="0123456789 []|,\n"))
def test_any_text_of_digits_holds_a_grid_or_none(text):
    read_grid(text)


@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(
            st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=6
        )
    )
)
def test_grids_are_read_back(rows):
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    assert read_grid(f"Output:\n{text}\n\nThat is all.") == rows
    assert read_grid(str(rows)) == rows
