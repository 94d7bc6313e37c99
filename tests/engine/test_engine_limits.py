import asyncio

import numpy as np
import pytest
from engine_world import VirtualTime
from hypothesis import given
from hypothesis import strategies as st

from evalkit.engine.limits import (
    BACKOFF_BASE_S,
    BACKOFF_CAP_S,
    ConcurrencyLimit,
    ProviderLimit,
    backoff_s,
)
from evalkit.engine.rate_headers import RateWindow, read_rate_headers, reset_seconds
from evalkit.engine.settings import EngineSettings
from evalkit.errors import InputError


def limit_with(time: VirtualTime, **settings: float) -> ProviderLimit:
    rng = np.random.default_rng(0)
    return ProviderLimit(EngineSettings(**settings), rng, clock=time.clock, sleep=time.sleep)


# --- backing off


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_a_wait_is_never_longer_than_its_bound(attempt, seed):
    wait = backoff_s(attempt, np.random.default_rng(seed))
    assert 0 <= wait <= min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempt - 1, 40))


def test_waits_grow():
    means = []
    for attempt in range(1, 8):
        rng = np.random.default_rng(1)
        means.append(np.mean([backoff_s(attempt, rng) for _ in range(500)]))
    assert means == sorted(means)


def test_one_seed_gives_one_series():
    series = [[backoff_s(3, rng) for _ in range(5)] for rng in map(np.random.default_rng, (7, 7))]
    assert series[0] == series[1]


# --- the rate of a provider


async def test_without_a_limit_nothing_waits(time):
    limit = limit_with(time)
    for _ in range(1000):
        await limit.admit(1, 0)
    assert time.now == 0


async def test_no_minute_holds_more_than_the_limit_and_one_second(time):
    limit, left = limit_with(time, requests_per_minute=120), []
    for _ in range(600):
        await limit.admit(1, 0)
        left.append(time.now)
    worst = max(sum(start <= t < start + 60 for t in left) for start in left)
    assert worst <= 120 + 2


async def test_first_come_first_served(time):
    limit, order = limit_with(time, requests_per_minute=60), []

    async def go(number: int) -> None:
        await limit.admit(1, 0)
        order.append(number)

    await asyncio.gather(*(go(number) for number in range(10)))
    assert order == list(range(10))


async def test_a_request_larger_than_a_minute_leaves_and_the_next_waits_longer(time):
    limit = limit_with(time, tokens_per_minute=600)
    await limit.admit(1, 1200)
    assert time.now == 0
    await limit.admit(1, 10)
    assert time.now == pytest.approx(120, abs=1)


async def test_an_estimate_that_was_too_high_is_given_back(time):
    limit = limit_with(time, tokens_per_minute=600)
    await limit.admit(1, 1200)
    limit.settle_tokens(1200, 10)
    await limit.admit(1, 10)
    assert time.now < 2


async def test_a_pause_holds_everybody(time):
    limit = limit_with(time)
    limit.pause(30)
    await limit.admit(1, 0)
    assert time.now >= 30


async def test_a_shorter_pause_does_not_end_a_longer_one(time):
    limit = limit_with(time)
    limit.pause(30)
    limit.pause(1)
    await limit.admit(1, 0)
    assert time.now >= 30


def test_refusals_without_a_time_back_off_longer_and_longer(time):
    limit, waits = limit_with(time), []
    for _ in range(12):
        limit.refused(time.now, None)
        waits.append(limit.paused_until - time.now)
        time.now = limit.paused_until + 0.001
    assert max(waits[6:]) > max(waits[:4])


def test_refusals_of_one_moment_count_once(time):
    limit = limit_with(time)
    for _ in range(50):
        limit.refused(-1.0, None)
    assert limit.paused_until <= BACKOFF_BASE_S


# --- headers


async def test_a_limit_is_learned_from_openai_headers(time):
    limit = limit_with(time)
    limit.answered(
        {
            "X-RateLimit-Limit-Requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
        }
    )
    for _ in range(11):
        await limit.admit(1, 0)
    assert time.now == pytest.approx(10)


async def test_a_limit_of_the_user_goes_before_headers(time):
    limit = limit_with(time, requests_per_minute=6000)
    limit.answered({"x-ratelimit-limit-requests": "1", "x-ratelimit-reset-requests": "1s"})
    for _ in range(100):
        await limit.admit(1, 0)
    assert time.now < 2


async def test_nothing_left_pauses_until_the_reset(time):
    limit = limit_with(time)
    limit.answered(
        {
            "anthropic-ratelimit-tokens-limit": "1000000",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "20",
        }
    )
    await limit.admit(1, 0)
    assert time.now >= 20


def test_a_reset_of_a_day_is_not_waited_for_blindly(time):
    limit = limit_with(time)
    limit.answered({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "24h"})
    assert limit.paused_until <= 60


@pytest.mark.parametrize(
    ("remaining", "reset_s", "per_minute"),
    [
        (9.0, 6.0, 10.0),  # a tenth used, full in 6 s: a minute's limit
        (4.0, 0.6, 600.0),  # full in 0.6 s: a second's limit
        (10.0, 0.0, 10.0),
        (None, 1.0, 10.0),
        (5.0, None, None),  # no window is told: nothing is learned
    ],
)
def test_a_limit_of_a_second_is_not_taken_for_a_minutes(remaining, reset_s, per_minute):
    window = RateWindow(unit="requests", limit=10.0, remaining=remaining, reset_s=reset_s)
    assert window.per_minute == pytest.approx(per_minute)


def test_a_provider_that_says_at_once_is_not_believed_for_ever(time):
    limit, waits = limit_with(time), []
    for _ in range(20):
        limit.refused(time.now, 0.0)
        waits.append(max(0.0, limit.paused_until - time.now))
        time.now = max(time.now, limit.paused_until) + 0.001
    assert (waits[:5], max(waits) > 5) == ([0.0] * 5, True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("17", 17.0),
        ("2024-01-01T00:00:30Z", 30.0),
        ("2023-12-31T00:00:00Z", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("nan", None),
    ],
)
def test_resets_are_read_in_every_notation(text, seconds):
    assert reset_seconds(text, lambda: 1704067200.0) == seconds


@given(
    st.dictionaries(
        st.sampled_from(
            [
                f"{prefix}{part}"
                for prefix in ("x-ratelimit-", "anthropic-ratelimit-")
                for part in ("limit-requests", "remaining-tokens", "requests-limit", "tokens-reset")
            ]
        ),
        st.text(max_size=20),
    )
)
def test_no_header_breaks_the_reader(headers):
    for window in read_rate_headers(headers, lambda: 0.0):
        assert window.limit is None or window.limit >= 0


# --- concurrency


def test_a_refusal_cuts_by_thirty_percent(time):
    limit = ConcurrencyLimit(100, clock=time.clock)
    limit.refused(0.0)
    assert limit.value == 70


def test_refusals_of_one_moment_cut_once(time):
    limit = ConcurrencyLimit(100, clock=time.clock)
    for _ in range(40):
        limit.refused(0.0)
    assert limit.value == 70


def test_answers_grow_it_back_slowly(time):
    limit = ConcurrencyLimit(100, clock=time.clock)
    limit.refused(0.0)
    for _ in range(70):
        limit.answered()
    assert 74 <= limit.value <= 75
    for _ in range(10_000):
        limit.answered()
    assert limit.value == 100


@given(st.integers(1, 512), st.lists(st.booleans(), max_size=200))
def test_it_stays_between_one_and_its_ceiling(ceiling, refusals):
    time = VirtualTime()
    limit = ConcurrencyLimit(ceiling, clock=time.clock)
    for refused in refusals:
        time.now += 2.0
        limit.refused(time.now) if refused else limit.answered()
        assert 1 <= limit.value <= ceiling


# --- settings


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": 0}, {"max_attempts": 0}, {"deadline_s": -1.0}, {"requests_per_minute": 0.0}],
)
def test_settings_that_would_never_send_are_refused(wrong):
    with pytest.raises(InputError, match=f"engine's {next(iter(wrong))} must be above 0"):
        EngineSettings(**wrong)


def test_a_cost_limit_of_nothing_is_allowed():
    assert EngineSettings(max_cost=0.0).max_cost == 0
