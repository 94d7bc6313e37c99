import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.records import Response, ToolCall
from evalkit.scoring.call_syntax import Call, parse_calls, structured_calls


def function(name, required=(), **properties):
    kinds = {
        key: kind if isinstance(kind, dict) else {"type": kind} for key, kind in properties.items()
    }
    parameters = {"type": "dict", "properties": kinds, "required": list(required)}
    return {"name": name, "parameters": parameters}


AREA = function("geo.area", ["base"], base="integer", height="float", unit="string")
EXPECTED = [{"geo.area": {"base": [10], "height": [5.0], "unit": ["sq cm", ""]}}]


def value(score, answer, functions=(AREA,), expected=EXPECTED):
    found = score("tool_calls", answer, expected, doc={"function": list(functions)})
    return found.values["accuracy"]


@pytest.mark.parametrize(
    "answer",
    [
        '[geo.area(base=10, height=5.0, unit="sq cm")]',
        "[geo.area(base=10, height=5)]",
        "geo.area(base=10, height=5.0)",
        '[geo.area(base=10, height=5.0, unit="Sq-CM.")]',
        "```python\n[geo.area(base=10, height=5.0)]\n```",
        "`[geo.area(base=10, height=5.0)]`",
        "Here it is: [geo.area(base=10, height=5.0)]. Anything else?",
        "[geo.area(base=10, height=5.0)",
        "[geo.area(height=2.5 * 2, base=5 + 5)]",
        "<think>[geo.area(base=1)]</think>[geo.area(base=10, height=5.0)]",
    ],
)
def test_right_calls(score, answer):
    assert value(score, answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "[geo.volume(base=10, height=5.0)]",
        "[geo_area(base=10, height=5.0)]",
        "[geo.area(height=5.0)]",
        "[geo.area(base=10)]",
        "[geo.area(base=10.0, height=5.0)]",
        "[geo.area(base='10', height=5.0)]",
        "[geo.area(base=11, height=5.0)]",
        "[geo.area(base=10, height=5.0, colour='red')]",
        "[geo.area(base=10, height=5.0), geo.area(base=10, height=5.0)]",
        "[geo.area(10, 5.0)]",
        "[]",
        "I would call geo.area with 10 and 5.",
        "",
    ],
)
def test_wrong_calls(score, answer):
    assert value(score, answer) == 0.0


def test_an_answer_without_calls_is_unparsed(score):
    found = score("tool_calls", "I cannot", EXPECTED, doc={"function": [AREA]})
    assert (found.status, found.note) == ("unparsed", "no call found")


def test_structured_calls_have_plain_names(score):
    call = ToolCall(name="geo_area", arguments='{"base": 10, "height": 5}')
    assert value(score, Response(tool_calls=(call,))) == 1.0


@pytest.mark.parametrize("arguments", ['{"base": 10.5, "height": 5}', "{", "[1]", "null", ""])
def test_wrong_structured_calls(score, arguments):
    call = ToolCall(name="geo_area", arguments=arguments)
    assert value(score, Response(tool_calls=(call,))) == 0.0


def test_parallel_calls_match_in_any_order(score):
    expected = [{"f": {"x": [1]}}, {"f": {"x": [2]}}]
    functions = [function("f", ["x"], x="integer")]
    assert value(score, "[f(x=2), f(x=1)]", functions, expected) == 1.0
    assert value(score, "[f(x=2), f(x=2)]", functions, expected) == 0.0


def test_where_no_function_fits_none_may_be_called(score):
    assert value(score, "None of them helps.", expected=[]) == 1.0
    assert value(score, "[geo.area(base=1)]", expected=[]) == 0.0


@pytest.mark.parametrize(
    ("kind", "accepted", "written", "right"),
    [
        ({"type": "array", "items": {"type": "string"}}, [["a b", "c"]], "['A-B', 'c']", 1.0),
        ({"type": "array", "items": {"type": "string"}}, [["a", "c"]], "['c', 'a']", 0.0),
        ({"type": "array", "items": {"type": "integer"}}, [[1, 2]], "[1.0, 2]", 0.0),
        ({"type": "array", "items": {"type": "integer"}}, [[1, 2], ""], "[]", 1.0),
        ({"type": "tuple", "items": {"type": "integer"}}, [[1, 2]], "(1, 2)", 1.0),
        ({"type": "array", "items": {"type": "integer"}}, [[1, 2]], "(1, 2)", 0.0),
        ("boolean", [True], "True", 1.0),
        ("boolean", [True], "1", 0.0),
        ("string", ["it's"], '"it\\"s"', 1.0),
        ("integer", ["count"], "count", 1.0),
        ("integer", [-3], "-3", 1.0),
        ("dict", [{"a": [1, 2], "b": ["x", ""]}], "{'a': 2}", 1.0),
        ("dict", [{"a": [1], "b": ["x"]}], "{'a': 1}", 0.0),
        ("dict", [{"a": [1]}], "{'a': 1, 'z': 2}", 0.0),
        ("dict", [{"a": ["x y"]}], "{'a': 'X,Y'}", 1.0),
        ({"type": "array", "items": {"type": "dict"}}, [[{"a": [1]}]], "[{'a': 1}]", 1.0),
        ({"type": "array", "items": {"type": "dict"}}, [[{"a": [1]}]], "[{'a': 1}, {}]", 0.0),
        ("any", ["x"], "'x'", 1.0),
        ("string", ["x"], "None", 0.0),
    ],
)
def test_values_are_compared_by_their_documented_type(score, kind, accepted, written, right):
    functions = [function("f", ["x"], x=kind)]
    assert value(score, f"[f(x={written})]", functions, [{"f": {"x": accepted}}]) == right


def test_a_call_as_an_argument_is_a_mapping():
    assert parse_calls("f(x=g(y=1), z=h())") == [
        Call(name="f", arguments={"x": {"g": {"y": 1}}, "z": "h()"})
    ]


@pytest.mark.parametrize(
    "text",
    [
        "f(x=9 ** 9 ** 9)",
        "f(x=b'a')",
        "f(x=1j)",
        "f(x=1e400 * 10)",
        "f(**{'a': 1})",
        "(" * 5000,
        "[" * 5000 + "]" * 5000,
        "f(x=" + "-" * 5000 + "1)",
        "f(x={**{}})",
        "f(x={[]: 1})",
        "f(x=1/0)",
        "__import__('os').system('true')",
    ],
)
def test_nothing_is_evaluated_and_nothing_raises(text):
    parse_calls(text)


@given(st.text())
def test_any_text_is_calls_or_none(text):
    parse_calls(text)


@given(st.text(alphabet="fg([{}])=,.:'\"`-+*/ 123eTrue\n"))
def test_any_text_of_python_signs_is_calls_or_none(text):
    parse_calls(text)


@given(st.text(), st.text())
def test_any_structured_call_is_read_or_refused(name, arguments):
    structured_calls([ToolCall(name=name, arguments=arguments)])


plain = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text()
nested = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), nested, max_size=4))
def test_arguments_survive_both_ways_of_calling(arguments):
    keywords = ", ".join(f"{key}_={value!r}" for key, value in arguments.items())
    written = {f"{key}_": value for key, value in arguments.items()}
    expected = [Call(name="f", arguments=written)]
    assert parse_calls(f"[f({keywords})]") == expected
    assert structured_calls([ToolCall(name="f", arguments=json.dumps(written))]) == expected
