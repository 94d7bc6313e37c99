from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.numbers import NumberParams, boxed, final_number, numbers_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("The total is 1,234.50 dollars", Fraction("1234.5")),
        ("It costs $1,000,000.", 1_000_000),
        ("so #### -7", -7),
        ("#### 1,000 apples, not 3", 1000),
        (r"\boxed{\frac{3}{4}} and not 5", Fraction(3, 4)),
        (r"\boxed{5} no, \boxed{12}", 12),
        (r"$\boxed{x = 4}$", 4),
        (r"\boxed{12", 12),
        ("3-5", 5),
        ("3 - 5 = -2", -2),
        ("3*-2", -2),
        ("(-3)", -3),
        ("x = −3", -3),
        ("a loss of -$12", -12),
        ("a loss of $-12", -12),
        ("3/4 of it", Fraction(3, 4)),
        ("it's 45%", 45),
        ("2.5e3", 2500),
        (".5", Fraction(1, 2)),
        ("0.5.", Fraction(1, 2)),
        ("10 apples. The answer is 12. I checked 3 times.", 12),
        ("The answer is 3 + 4 = 7.", 7),
        ("Answer: **42**", 42),
        ("the answer is:\n 8", 8),
        ("First 5, then 6", 6),
        ("12/0", None),
        ("no number", None),
        ("", None),
        ("9" * 200, None),
    ],
)
def test_final_number(text, number):
    assert final_number(text) == number


def test_a_percent_sign_can_mean_a_hundredth():
    assert final_number("45%", NumberParams(percent="fraction")) == Fraction(45, 100)


def test_the_last_number_can_be_asked_for():
    assert final_number("#### 4 of 5", NumberParams(where="last")) == 5


@pytest.mark.parametrize(
    ("answer", "target", "params", "value"),
    [
        ("The answer is 1,200.", "1200", {}, 1.0),
        ("12.0", 12, {}, 1.0),
        ("0.33", "1/3", {}, 0.0),
        ("0.33", "1/3", {"absolute": 0.01}, 1.0),
        ("102", 100, {"relative": 0.02}, 1.0),
        ("103", 100, {"relative": 0.02}, 0.0),
        ("5", 6, {}, 0.0),
    ],
)
def test_numbers_are_compared_exactly_or_within_a_tolerance(score, answer, target, params, value):
    assert score("number", answer, target, **params).values == {"exact_match": value}


@pytest.mark.parametrize("answer", ["", "I cannot say"])
def test_an_answer_without_a_number_is_unparsed(score, answer):
    assert score("number", answer, 5).status == "unparsed"


def test_a_target_without_a_number_is_unscored(score):
    assert score("number", "5", "none").status == "unscored"


@given(st.text())
def test_any_text_has_numbers_or_none(text):
    final_number(text)


@given(st.text(alphabet="0123456789.,-+/%eE$ \\frac{}boxed#="))
def test_any_text_of_digits_and_signs_has_numbers_or_none(text):
    assert all(isinstance(number, Fraction) for number in numbers_in(text))


@given(st.integers(-(10**18), 10**18), st.booleans())
def test_integers_are_read_back(number, separated):
    written = f"{number:,}" if separated else str(number)
    assert final_number(f"The answer is {written}.") == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, max_value=10**9, min_value=0))
def test_decimals_are_read_back(number):
    assert final_number(f"#### {number:f}") == Fraction(number)


@given(st.text())
def test_what_a_box_holds_is_given_back(text):
    inside = text.replace("{", "").replace("}", "").replace("\\", "")
    assert boxed(rf"so \boxed{{{inside}}} it is") == inside
