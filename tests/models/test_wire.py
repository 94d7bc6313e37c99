import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import TransientError
from evalkit.models.wire import chat_messages, chat_response, cut_at, text_response
from evalkit.records import Message, Response, ToolCall, Usage


def body(message: dict, **choice) -> bytes:
    return json.dumps({"choices": [{"message": message, **choice}]}).encode()


def test_content_in_parts_is_joined():
    assert (
        chat_response(body({"content": [{"type": "text", "text": "a"}, {"text": "b"}]})).text
        == "ab"
    )


def test_no_content_at_all_is_an_empty_answer():
    assert chat_response(body({"content": None}, finish_reason="stop")) == Response(
        finish_reason="stop"
    )


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(field):
    assert chat_response(body({"content": "x", field: "why"})).reasoning == "why"


def test_arguments_sent_as_an_object_become_json_text():
    calls = [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}]
    [call] = chat_response(body({"tool_calls": calls})).tool_calls
    assert call == ToolCall(name="f", arguments='{"a":1}', id="1")


def test_missing_usage_counts_nothing():
    assert chat_response(body({"content": "x"})).usage == Usage()


def test_usage_with_null_details_is_read():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None}
    wire = json.dumps({"choices": [{"message": {"content": ""}}], "usage": usage}).encode()
    assert chat_response(wire).usage == Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"\xff\xfe",
        b'{"choices": [{"message": {"content": "\xff"}}]}',
    ],
)
def test_a_malformed_body_is_transient(broken):
    with pytest.raises(TransientError):
        chat_response(broken)


@given(st.binary(max_size=200))
def test_no_body_raises_anything_else(garbage):
    for read in (chat_response, text_response):
        try:
            read(garbage)
        except TransientError:
            continue


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "text", "logprobs"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_no_json_raises_anything_else(value):
    for read in (chat_response, text_response):
        try:
            read(msgspec.json.encode({"choices": [value]}))
        except TransientError:
            continue


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=4))
def test_a_cut_text_is_a_prefix_without_any_stop(text, stops):
    kept, was_cut = cut_at(text, stops)
    assert text.startswith(kept)
    assert not any(stop in kept for stop in stops)
    assert was_cut == any(stop in text for stop in stops)


def test_an_empty_stop_sequence_cuts_nothing():
    assert cut_at("abc", ("",)) == ("abc", False)


def test_the_first_stop_in_the_text_counts_not_the_first_in_the_list():
    assert cut_at("abcd", ("c", "b")) == ("a", True)


def test_messages_keep_their_roles_and_calls():
    call = ToolCall(name="f", arguments="{}", id="1")
    wire = chat_messages(
        [
            Message(role="system", content="s"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="r", tool_call_id="1"),
        ],
        system_role="developer",
    )
    assert [m["role"] for m in wire] == ["developer", "assistant", "tool"]
    assert wire[1]["content"] is None
    assert wire[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_broke_off_is_transient(reason):
    with pytest.raises(TransientError, match="broke off"):
        chat_response(body({"content": "half"}, finish_reason=reason))


def test_text_completions_are_read():
    wire = b'{"model": "m", "choices": [{"text": "a b", "finish_reason": "length"}]}'
    response = text_response(wire)
    assert (response.text, response.status, response.served_model) == ("a b", "truncated", "m")


def test_logprobs_in_llama_cpps_form_do_not_disturb_a_text_completion():
    wire = b'{"choices": [{"text": "a", "logprobs": {"content": [{"token": "a", "logprob": -1}]}}]}'
    assert text_response(wire).text == "a"
