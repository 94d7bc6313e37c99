import asyncio

import pytest

from evalkit.engine.failures import MESSAGE_LIMIT, describe, failure_kind, redact
from evalkit.errors import AccessError, RequestError, TransientError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransientError("x", status_code=429), "rate_limited"),
        (TransientError("x", rate_limited=True), "rate_limited"),
        (TransientError("x", status_code=529), "rate_limited"),
        (TransientError("x", status_code=500), "server_error"),
        (TransientError("x", status_code=503), "server_error"),
        (TransientError("x", status_code=504), "timeout"),
        (TransientError("x", status_code=408), "timeout"),
        (TransientError("x", status_code=200), "malformed"),
        (TransientError("The answer is not valid JSON"), "malformed"),
        (caused(TransientError("x"), ValueError("y")), "malformed"),
        (TransientError("m did not answer within 5 s"), "timeout"),
        (caused(TransientError("x"), TimeoutError()), "timeout"),
        (caused(TransientError("x"), asyncio.TimeoutError()), "timeout"),
        (TransientError("The connection to m failed: reset"), "dropped"),
        (caused(TransientError("x"), ConnectionResetError()), "dropped"),
        (ConnectionResetError("x"), "dropped"),
        (asyncio.IncompleteReadError(b"", 4), "dropped"),
        (asyncio.TimeoutError(), "timeout"),
        (RequestError("x", status_code=400), "bad_request"),
        (AccessError("x", status_code=401), "access"),
        (KeyError("x"), "unexpected"),
    ],
)
def test_every_failure_has_a_kind(error, kind):
    assert failure_kind(error) == kind


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abc123DEF456. Find it",
        "Authorization: Bearer abc.def.ghi was refused",
        "api_key=verysecretvalue is wrong",
        'the header "x-api-key": "topsecret12345" is wrong',
        "hf_abcdefghijklmnop is gated",
    ],
)
def test_keys_are_left_out(text):
    cleaned = redact(text)
    assert "[key]" in cleaned
    for secret in ("abc123DEF456", "abc.def.ghi", "verysecret", "topsecret", "abcdefghijklmnop"):
        assert secret not in cleaned


def test_ordinary_words_stay():
    text = "task-specific risk-averse keyword-argument hf_hub api keys are documented"
    assert redact(text) == text


def test_messages_are_one_short_line():
    said = describe(TransientError("a\nb " + "x" * 9999))
    assert said.startswith("a b x")
    assert len(said) == MESSAGE_LIMIT


def test_an_unexpected_error_is_named():
    assert describe(KeyError("choices")) == "KeyError: 'choices'"
