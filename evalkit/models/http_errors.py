"""What a refusal over HTTP means: which of the three `ModelError`s, and when to ask again.

References: https://platform.openai.com/docs/guides/error-codes,
https://docs.anthropic.com/en/api/errors, and RFC 9110 for `Retry-After`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from evalkit.errors import AccessError, ModelError, RequestError, TransientError

_TOO_FAST = (429, 529)
_PASSING = (408, 409, 425, *_TOO_FAST)
_NO_ACCESS = (401, 402, 403, 404, 405)
_NO_CREDIT = (
    "insufficient_quota",
    "billing_hard_limit",
    "credit balance",
    "exceeded your current quota",
)
_LONGEST = 400
_KEY = re.compile(r"\b(sk|key|xai|gsk|hf|pk)[-_][\w*.-]{6,}")
_AGAIN_IN = re.compile(r"(?:try again|retry) (?:in|after) ([\d.hms ]+)", re.IGNORECASE)
_DURATION = re.compile(r"([\d.]+)\s*(ms|h|m|s)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
_HTTP_LIBRARIES = ("aiohttp", "httpcore", "httpcore2", "httpx", "httpx2")
_RATE_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")


def error_for(
    status: int,
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    model: str,
    secrets: Iterable[str] = (),
    now: Callable[[], float] = time.time,
) -> ModelError:
    """The error that an HTTP answer stands for.

    Args:
        status: The HTTP status.
        headers: The answer's headers.
        body: The answer's body, of which the message is quoted.
        model: Whom the message names.
        secrets: Texts that the message must not contain.
        now: The clock, for a `Retry-After` that names a date.
    """
    said, codes = read_error(body)
    shown = hide_secrets(said, secrets)[:_LONGEST]
    message = f"{model} answered HTTP {status}: {shown or 'without a message'}"
    out_of_credit = any(mark in f"{said} {codes}".lower() for mark in _NO_CREDIT)
    if status in _NO_ACCESS or (out_of_credit and 400 <= status < 500):
        return AccessError(message, status_code=status)
    if status in _PASSING or status >= 500:
        return TransientError(
            message,
            status_code=status,
            retry_after_s=retry_after_s(headers, said, now),
            rate_limited=status in _TOO_FAST,
        )
    return RequestError(message, status_code=status)


def read_error(body: bytes | str) -> tuple[str, str]:
    """The message of an error body and its type and code, in any server's form."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        return " ".join(text.split()), ""
    error = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if not isinstance(error, dict):
        return str(error), ""
    message = error.get("message") or error.get("detail") or error.get("error") or ""
    return str(message), f"{error.get('type', '')} {error.get('code', '')}"


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """`text` without the given secrets and without anything that looks like a key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    return _KEY.sub("[key]", text)


def retry_after_s(
    headers: Mapping[str, str], message: str = "", now: Callable[[], float] = time.time
) -> float | None:
    """How long the server asks to wait: from `retry-after-ms`, `retry-after`, or its words."""
    lower = {name.lower(): value for name, value in headers.items()}
    if (exact := _number(lower.get("retry-after-ms"))) is not None:
        return exact / 1000
    if stated := lower.get("retry-after"):
        seconds = _number(stated)
        return seconds if seconds is not None else _until(stated, now())
    found = _AGAIN_IN.search(message)
    return _duration(found.group(1)) if found else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, moment.timestamp() - now)


def _duration(text: str) -> float | None:
    parts = [
        (value, _SECONDS[unit])
        for number, unit in _DURATION.findall(text)
        if (value := _number(number)) is not None
    ]
    return sum(value * unit for value, unit in parts) if parts else None


def is_transport_error(error: BaseException) -> bool:
    """Whether an error is of the network: of one of the HTTP libraries, or the system's."""
    library = type(error).__module__.partition(".")[0]
    return library in _HTTP_LIBRARIES or isinstance(error, OSError | TimeoutError)


def rate_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers that tell what is left of a rate limit, names in lower case."""
    return {
        name.lower(): str(value)
        for name, value in headers.items()
        if name.lower().startswith(_RATE_PREFIXES)
    }
