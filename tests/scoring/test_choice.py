"""Which letter an answer names."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring import choice
from evalkit.scoring.choice import read_choice

LETTERS = "ABCD"
CHOICES = ["London", "Paris", "Rome", "Berlin"]


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "(B)",
        "**B**",
        "B.",
        "B)",
        "[B]",
        '"B"',
        "Ｂ",
        "Ⓑ",
        "Answer: B",
        "Answer:B",
        "The answer is (B)",
        "The answer is B.",
        "The answer is **B**.",
        "The correct answer is **B. Paris**",
        "The correct option is B",
        "I would choose option B because Paris is the capital",
        "B) Paris",
        "B: Paris",
        "Paris",
        "paris.",
        "The answer is Paris.",
        "Let me think. A is London. So it's not A.\n\nThe answer is B.",
        "The answer is not A. The answer is B",
        "answer is B, not C",
        "The answer to the question is B",
        "So \\boxed{B}",
        "$\\boxed{\\text{B}}$",
        "<answer>B</answer>",
        "Thinking about A.\n<answer>\nB\n</answer>",
        "A. London\nB. Paris\nC. Rome\nD. Berlin\n\nB",
        "The capital of France is Paris, so (B).",
        "It is B",
        "Definitely B!",
        "B\n\nExplanation: A is wrong since it is in England.",
        "答案是B",
        "答案：B",
        "정답은 B입니다",
        "Ответ: B",
        "Die Antwort lautet B.",
        "La respuesta es B.",
        "La réponse est B.",
    ],
)
def test_an_answer_that_names_one_letter(text):
    assert read_choice(text, LETTERS, CHOICES) == "B"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "A and B",
        "Answer: A or B",
        "The answer is B/C",
        "Either B or D",
        "A good question, hard to say",
        "I think either is possible",
        "The answer is a city",
        "A. London\nB. Paris\nC. Rome\nD. Berlin",
        "Option (A) is wrong, option (B) is right",
        "London or Paris",
        "E",
    ],
)
def test_an_answer_that_names_none_or_several(text):
    assert read_choice(text, LETTERS, CHOICES) is None


def test_letters_of_other_scripts():
    assert read_choice("Ответ: Б", "АБВГ") == "Б"
    assert read_choice("Было трудно. Ответ: В", "АБВГ") == "В"
    assert read_choice("الإجابة: ب", "أبجد") == "ب"


def test_digits_as_letters():
    assert read_choice("The answer is 2.", "1234") == "2"
    assert read_choice("It costs 1.5 or so", "1234") is None


def test_two_choices_with_one_text_are_ambiguous():
    assert read_choice("Paris", "AB", ["Paris", "paris"]) is None


letters = st.sampled_from(LETTERS)


@given(
    letters, st.sampled_from(["{}", "({})", "**{}**", "{}.", "Answer: {}", "The answer is ({})"])
)
def test_every_plain_form_is_read(letter, form):
    assert read_choice(form.format(letter), LETTERS) == letter


@given(letters, st.text(alphabet=string.ascii_lowercase + " ,\n", max_size=80))
def test_a_last_statement_is_read_after_any_reasoning(letter, reasoning):
    assert read_choice(f"{reasoning}\nThe answer is ({letter}).", LETTERS) == letter


@given(st.text(max_size=200))
def test_what_is_read_is_always_one_of_the_letters(text):
    assert read_choice(text, LETTERS, CHOICES) in {*LETTERS, None}


@given(
    st.text(
        alphabet=string.ascii_lowercase.replace("a", "")
        .replace("b", "")
        .replace("c", "")
        .replace("d", "")
        + " .\n",
        max_size=80,
    )
)
def test_a_text_without_any_letter_names_none(text):
    assert read_choice(text, LETTERS) is None


@given(letters, letters)
def test_two_letters_side_by_side_are_ambiguous(one, other):
    if one != other:
        assert read_choice(f"The answer is {one} or {other}", LETTERS) is None


@pytest.mark.parametrize("text", ["(" * 20000, "answer " * 4000, "A. " * 5000, "*" * 50000])
def test_hostile_text_takes_no_time(text):
    import time

    started = time.process_time()
    read_choice(text, LETTERS, CHOICES)
    assert time.process_time() - started < 2


BITS = ["answer", "The ANSWER is", "answer:", " B", " (C)", "correct option", "my choice", "\n"]
BITS += ["final letter is", "pick", "Antwort ist", "RÉPONSE:", "yanıt", "YANIT", "ОТВЕТ", "答案是"]
BITS += ["정답은", "İ", "ß", "the right answer to this is", "answeranswer: B", " ", "x", " is"]


def test_statements_are_found_where_the_pattern_finds_them():
    draw = random.Random(4)
    for pattern in (choice._AFTER_CUE, choice._patterns(("A", "B", "C"))["stated"]):
        for _ in range(1000):
            text = "".join(draw.choices(BITS, k=10))
            found = [match.span() for match in choice._from_cues(pattern, text)]
            assert found == [match.span() for match in pattern.finditer(text)], text
