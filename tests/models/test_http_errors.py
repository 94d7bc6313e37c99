import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import AccessError, RequestError, TransientError
from evalkit.models.http_errors import error_for, hide_secrets, rate_headers, retry_after_s


def error(status, body=b"", headers=None, **more):
    return error_for(status, headers or {}, body, model="m", **more)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestError),
        (413, RequestError),
        (422, RequestError),
        (401, AccessError),
        (402, AccessError),
        (403, AccessError),
        (404, AccessError),
        (408, TransientError),
        (409, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
        (529, TransientError),
    ],
)
def test_every_status_has_its_kind(status, kind):
    raised = error(status)
    assert type(raised) is kind
    assert raised.status_code == status


@pytest.mark.parametrize(("status", "limited"), [(429, True), (529, True), (503, False)])
def test_being_too_fast_is_told_apart(status, limited):
    assert error(status).rate_limited is limited


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "no", "code": "insufficient_quota"}}',
        b'{"error": {"message": "You exceeded your current quota", "type": "x"}}',
        b'{"type": "error", "error": {"message": "Your credit balance is too low"}}',
    ],
)
def test_spent_credit_cannot_be_waited_for(body):
    assert type(error(429, body)) is AccessError


def test_a_500_that_speaks_of_quota_is_passing():
    assert type(error(500, b"quota: insufficient_quota")) is TransientError


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "too long"}}',
        b'{"object": "error", "message": "too long", "code": 400}',
        b'{"detail": "too long"}',
        b'{"error": "too long"}',
        b"too   long",
    ],
)
def test_the_message_is_found_in_every_servers_form(body):
    assert str(error(400, body)) == "m answered HTTP 400: too long"


def test_long_messages_are_shortened():
    assert len(str(error(400, b"x" * 5000))) < 500


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "250"}, "", 0.25),
        ({"Retry-After": "3"}, "", 3),
        ({"retry-after": "0.5", "retry-after-ms": "100"}, "", 0.1),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, "", 40),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:40 GMT"}, "", 0),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "-1"}, "", None),
        ({}, "Please try again in 1.2s.", 1.2),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "try again in 1m30s", 90),
        ({}, "Try again later", None),
    ],
)
def test_the_wait_is_read(headers, message, seconds):
    assert retry_after_s(headers, message, now=lambda: 60.0) == (
        None if seconds is None else pytest.approx(seconds)
    )


@given(st.text(max_size=40), st.text(max_size=60))
def test_no_header_or_message_breaks_the_reading(header, message):
    wait = retry_after_s({"retry-after": header}, message, now=lambda: 0.0)
    assert wait is None or wait >= 0


@given(st.text(alphabet="abcdef0123456789-", min_size=8, max_size=40), st.text(max_size=20))
def test_a_given_secret_never_stays(secret, around):
    assert secret not in hide_secrets(around + secret + around, [secret]).replace("[key]", "")


def test_what_looks_like_a_key_never_stays():
    shown = str(error(401, b'{"error": {"message": "Incorrect API key: sk-abc***********wxyz."}}'))
    assert shown == "m answered HTTP 401: Incorrect API key: [key]"


def test_only_rate_limit_headers_are_kept():
    headers = {
        "X-RateLimit-Remaining-Requests": "3",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
        "content-type": "application/json",
    }
    assert rate_headers(headers) == {
        "x-ratelimit-remaining-requests": "3",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
    }
