import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import InputError
from evalkit.records import Response
from evalkit.scoring.code import build_program, defines, extract_code, pass_at_k
from evalkit.scoring.registry import bind

PROBLEM = {
    "prompt": (
        "from typing import List\n\n\ndef half(x):\n    return x // 2\n\n\n"
        'def middle(items: List[int]) -> int:\n    """The middle item.\n    >>> middle([1, 2, 3])\n'
        '    2\n    """\n'
    ),
    "test": (
        "def check(candidate):\n"
        "    assert candidate([1, 2, 3]) == 2\n"
        "    assert candidate([5]) == 5\n"
    ),
    "entry_point": "middle",
}
BODY = "    return items[half(len(items))]\n"
FUNCTION = "def middle(items):\n    return items[half(len(items))]\n"


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [(1, 1, 1, 1.0), (1, 0, 1, 0.0), (10, 3, 1, 0.3), (5, 2, 2, 0.7), (4, 1, 4, 1.0)],
)
def test_pass_at_k_worked_by_hand(n, c, k, value):
    assert pass_at_k(n, c, k) == pytest.approx(value)


@given(st.integers(1, 60), st.data())
def test_pass_at_k_equals_the_papers_product(n, data):
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    product = 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1)) if n - c >= k else 1.0
    assert pass_at_k(n, c, k) == pytest.approx(product)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_refuses_what_has_no_meaning(n, c, k):
    with pytest.raises(ValueError, match=r"pass@k needs"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (BODY, BODY),
        (f"Sure:\n```python\n{FUNCTION}```\nDone.", FUNCTION.rstrip("\n")),
        (f"```\n{FUNCTION}```", FUNCTION.rstrip("\n")),
        (f"```py\n{FUNCTION}", FUNCTION),
        (f"```python\n{FUNCTION}```\nUse it:\n```python\nmiddle([1])\n```", FUNCTION.rstrip("\n")),
        (f"```bash\npip install x\n```\n```python\n{FUNCTION}```", FUNCTION.rstrip("\n")),
        (f"{BODY}```\nThat is it.", BODY),
        ("no code at all", "no code at all"),
    ],
)
def test_code_is_found_in_an_answer(answer, code):
    assert extract_code(answer, "middle") == code


@given(st.text(alphabet=st.sampled_from("`\n pydefmiddle(): \x00")), st.text())
def test_any_answer_has_code_or_is_code(fences, text):
    assert isinstance(extract_code(fences + text, "middle"), str)


def test_a_function_defined_inside_another_is_not_the_entry_point():
    assert not defines("class A:\n    def middle(self): pass", "middle")


def test_a_body_continues_the_prompt():
    assert build_program("def f():\n", "    return 1\n", "T", "f").startswith(
        "def f():\n    return 1\n"
    )


def test_a_whole_function_follows_a_prompt_that_is_given_a_body():
    program = build_program("import os\ndef f():\n", "def f():\n    return os\n", "", "f")
    compile(program, "program", "exec")
    assert "    pass\n" in program


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("answer", "value", "note"),
    [
        (BODY, 1.0, "passed"),
        (f"Here it is:\n```python\n{FUNCTION}```", 1.0, "passed"),
        (f"```python\n{BODY}```", 1.0, "passed"),
        ("    return items[0]\n", 0.0, "failed: AssertionError"),
        ("    return (\n", 0.0, "failed: SyntaxError: '(' was never closed"),
        ("    import sys; sys.exit(0)\n", 0.0, "failed: exit code 0"),
        ("    import os; os._exit(0)\n", 0.0, "failed: exit code 0"),
        ("    while True: pass\n", 0.0, "timed out"),
        ("\ud800", 0.0, "failed: UnicodeEncodeError"),
    ],
)
def test_programs_pass_only_if_their_tests_do(score, answer, value, note):
    found = score("code", answer, doc=PROBLEM, timeout_s=2.0)
    assert found.values == {"pass@1": value}
    assert found.note.startswith(note)


@pytest.mark.sandbox
def test_an_empty_answer_is_unparsed_and_not_run(score):
    found = score("code", "\n", doc=PROBLEM)
    assert (found.status, found.values) == ("unparsed", {"pass@1": 0.0})


@pytest.mark.sandbox
def test_pass_at_k_over_several_answers(score):
    found = score("code", [BODY, "    return 0\n", "    return 0\n"], doc=PROBLEM, k=[1, 2])
    assert found.values == {"pass@1": pytest.approx(1 / 3), "pass@2": pytest.approx(2 / 3)}


@pytest.mark.sandbox
def test_a_truncated_answer_is_run_and_says_so(score):
    found = score("code", Response(text=f"```python\n{FUNCTION}", status="truncated"), doc=PROBLEM)
    assert (found.status, found.values) == ("truncated", {"pass@1": 1.0})


@pytest.mark.sandbox
def test_more_k_than_answers_are_refused_before_anything_is_asked():
    with pytest.raises(InputError, match="set repeats to at least the largest k"):
        bind("code", {"k": [1, 10]}).check(1)
