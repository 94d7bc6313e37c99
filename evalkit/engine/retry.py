"""What follows a failed attempt: decided from the failure alone, so that it can be read here."""

from __future__ import annotations

from typing import Literal

from evalkit.engine.failures import FailureKind, describe
from evalkit.engine.pending import Pending
from evalkit.engine.settings import EngineSettings
from evalkit.records import Record

#: again       ask again as soon as the provider's limits allow
#: back_off    ask again after a wait that grows with every attempt
#: lose        this request ends as an error
#: stop_model  nothing more is asked of this model
Action = Literal["again", "back_off", "lose", "stop_model"]


class Next(Record, frozen=True, kw_only=True):
    """What to do, and why."""

    action: Action
    reason: str = ""


def after_failure(
    error: BaseException,
    kind: FailureKind,
    pending: Pending,
    settings: EngineSettings,
    *,
    now: float,
    last_answer: float,
) -> Next:
    """What to do with a request whose attempt ended in `error`.

    Args:
        error: What happened.
        kind: Its kind.
        pending: The request; the failed attempt is counted in it.
        settings: How patient to be.
        now: The time.
        last_answer: When the model last answered anything.
    """
    said = describe(error)
    if kind == "access":
        return Next(action="stop_model", reason=said)
    if kind in ("bad_request", "unexpected"):
        return Next(action="lose", reason=said)
    asked_to_wait = getattr(error, "retry_after_s", None) or 0.0
    if asked_to_wait > settings.patience_s:
        reason = f"the provider asks to wait {asked_to_wait:g} s ({said})"
        return Next(action="stop_model", reason=reason)
    if kind == "rate_limited":
        return _after_refusal(said, pending, settings.patience_s, now, last_answer)
    if pending.attempts >= settings.max_attempts:
        return Next(action="lose", reason=said)
    return Next(action="back_off")


def _after_refusal(
    said: str, pending: Pending, patience_s: float, now: float, last_answer: float
) -> Next:
    since = now if pending.refused_since is None else pending.refused_since
    if now - since <= patience_s:
        return Next(action="again")
    reason = f"refused for more than {patience_s:g} s ({said})"
    nobody_answered = now - last_answer > patience_s
    return Next(action="stop_model" if nobody_answered else "lose", reason=reason)
