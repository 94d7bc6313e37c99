"""What kinds of failed attempts there are, and how one is told from the other."""

from __future__ import annotations

import asyncio
import re
from typing import Literal

from evalkit.errors import AccessError, ModelError, RequestError, TransientError

#: rate_limited  the provider refused because it was asked too fast (429, 529)
#: server_error  the provider failed (5xx)
#: dropped       the connection broke
#: timeout       no answer within the deadline
#: malformed     an answer came, but not one that can be read
#: bad_request   this request can never succeed
#: access        no request to this model can succeed
#: unexpected    the adapter raised what it should not
FailureKind = Literal[
    "rate_limited",
    "server_error",
    "dropped",
    "timeout",
    "malformed",
    "bad_request",
    "access",
    "unexpected",
]

MESSAGE_LIMIT = 500

# two classes until Python 3.11
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError)
_TIMEOUT_CODES = {408, 504, 524}
_MALFORMED_WORDS = re.compile(r"malformed|json|decod|pars|unexpected (body|answer|shape)", re.I)
_TIMEOUT_WORDS = re.compile(r"timed? ?out|deadline|did not answer within", re.I)
_SECRETS = re.compile(
    r"(?i)(bearer\s+|api[-_ ]?key['\"]?\s*[:=]\s*['\"]?)[^\s'\",;]+"
    r"|\b(?:sk|pk|rk|hf|gsk|xai|key)[-_][A-Za-z0-9_\-*.]{8,}"
)


def failure_kind(error: BaseException) -> FailureKind:
    """The kind of failure that `error` reports."""
    if isinstance(error, AccessError):
        return "access"
    if isinstance(error, RequestError):
        return "bad_request"
    if isinstance(error, TransientError):
        return _transient_kind(error)
    if isinstance(error, _TIMEOUTS):
        return "timeout"
    if isinstance(error, (ConnectionError, EOFError)):
        return "dropped"
    return "unexpected"


def _transient_kind(error: TransientError) -> FailureKind:
    code = error.status_code
    if error.rate_limited or code in (429, 529):
        return "rate_limited"
    if code in _TIMEOUT_CODES:
        return "timeout"
    if code is not None and code >= 500:
        return "server_error"
    if code is not None and code < 300:
        return "malformed"
    return _kind_by_cause(error)


def _kind_by_cause(error: TransientError) -> FailureKind:
    """Adapters wrap what their client raised: its type says more than the sentence."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, _TIMEOUTS) or _TIMEOUT_WORDS.search(str(error)):
        return "timeout"
    if isinstance(cause, ValueError) or _MALFORMED_WORDS.search(str(error)):
        return "malformed"
    return "dropped"


def describe(error: BaseException) -> str:
    """One short line about `error` that holds no key."""
    text = " ".join(str(error).split())
    if not isinstance(error, ModelError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return redact(text)[:MESSAGE_LIMIT]


def redact(text: str) -> str:
    """`text` with whatever looks like a key left out: providers echo keys in their errors."""
    return _SECRETS.sub(lambda match: f"{match.group(1) or ''}[key]", text)
