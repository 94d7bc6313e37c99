"""The search for a server's knee, on servers that are simulated without noise and with it."""

import asyncio
import heapq
import random

import pytest
from engine_world import SmallModel

from evalkit.engine.asking import Asker
from evalkit.engine.knee import AGAIN_S, LEAST_CALLS, KneeSearch, Level
from evalkit.engine.limits import ConcurrencyLimit
from evalkit.engine.settings import EngineSettings
from evalkit.records import Request


class Server:
    """Works on `capacity` calls at once, each for about `latency_s`; the others queue."""

    def __init__(self, capacity, latency_s=0.2, jitter=0.0, seed=0):
        self.places = [0.0] * capacity
        self.latency_s, self.jitter = latency_s, jitter
        self.random = random.Random(seed)
        self.now, self.in_flight = 0.0, []

    def send(self):
        start = max(self.now, heapq.heappop(self.places))
        seconds = self.latency_s * (1 + self.jitter * (2 * self.random.random() - 1))
        heapq.heappush(self.places, start + seconds)
        heapq.heappush(self.in_flight, (start + seconds, self.now))

    def answer(self):
        self.now, sent_at = heapq.heappop(self.in_flight)
        return sent_at


def seek(server, search, answers, until=None):
    """When the search has found the knee; asks on to `answers` (or the time `until`)."""
    found = None
    for _ in range(answers):
        while len(server.in_flight) < search.calls:
            server.send()
        sent_at = server.answer()
        if search.answered(server.now, sent_at, waiting=True) and found is None:
            found = server.now
        if until is not None and server.now > until:
            break
    return found


@pytest.mark.parametrize("jitter", [0.0, 0.8])
@pytest.mark.parametrize("capacity", [16, 50, 100, 256, 700])
def test_the_knee_is_found_and_left_a_quarter_of_headroom(capacity, jitter):
    search = KneeSearch(64, 1024)
    assert seek(Server(capacity, jitter=jitter), search, 20_000) is not None
    assert capacity <= search.calls <= 1.4 * capacity


@pytest.mark.parametrize("capacity", [50, 100, 256, 700, 5000])
def test_it_is_found_within_twenty_five_answer_times(capacity):
    assert seek(Server(capacity, latency_s=0.2), KneeSearch(64, 1024), 30_000) < 25 * 0.2


@pytest.mark.parametrize("seed", range(5))
def test_looking_again_does_not_drift(seed):
    search = KneeSearch(64, 1024)
    server = Server(16, jitter=0.8, seed=seed)
    seek(server, search, 10**6, until=12 * AGAIN_S)
    assert 16 <= search.calls <= 64


def test_a_server_that_grows_is_noticed():
    search = KneeSearch(64, 1024)
    server = Server(64)
    seek(server, search, 5_000)
    server.places += [server.now] * 448
    heapq.heapify(server.places)
    seek(server, search, 10**6, until=server.now + AGAIN_S + 20)
    assert search.calls >= 512


def test_it_never_asks_more_than_it_may():
    search = KneeSearch(64, 100)
    seek(Server(5000), search, 20_000)
    assert search.calls == 100


def test_it_keeps_enough_calls_for_a_server_that_answers_at_once():
    search = KneeSearch(64, 1024)
    seek(Server(1, latency_s=0.0003), search, 20_000)
    assert search.calls >= LEAST_CALLS


def test_nothing_is_learned_while_nothing_waits():
    search = KneeSearch(64, 1024)
    for number in range(10_000):
        search.answered(number * 0.01, number * 0.01 - 0.2, waiting=False)
    assert (search.calls, search.tried) == (64, [])


def test_answers_to_calls_of_another_level_do_not_count():
    search = KneeSearch(64, 1024)
    search.answered(10.0, 0.0, waiting=False)
    for _ in range(10_000):
        search.answered(20.0, 5.0, waiting=True)
    assert search.tried == []


def test_a_refusal_ends_the_search():
    search = KneeSearch(64, 1024)
    search.refused(0.0)
    seek(Server(1000), search, 5_000, until=AGAIN_S / 2)
    assert search.calls == 64


def test_what_was_found_is_said_with_what_was_tried():
    search = KneeSearch(125, 1024)
    search.tried = [
        Level(calls=64, per_second=6300.2, latency_s=0.01),
        Level(calls=128, per_second=10_000, latency_s=0.0128),
    ]
    assert search.report() == (
        "125 requests in flight from here on (answers at 64: 6,300/s, 128: 10,000/s)"
    )


def test_the_limit_follows_the_search():
    server, search = Server(256), KneeSearch(64, 1024)
    now = [0.0]
    limit = ConcurrencyLimit(64, search, clock=lambda: now[0])
    for _ in range(10_000):
        while len(server.in_flight) < limit.value:
            server.send()
        sent_at = server.answer()
        now[0] = server.now
        limit.answered()
        limit.measure(sent_at, waiting=True)
    assert limit.value == search.calls == 320


class Busy(SmallModel):
    """A server that works on 16 calls at once, 0.2 s each, in virtual time."""

    def __init__(self, time, **more):
        super().__init__(concurrency=8, **more)
        self.most_concurrency = 256
        places = asyncio.Semaphore(16)

        async def pause():
            async with places:
                await time.sleep(0.2)

        self.pause = pause


async def run(journal, time, settings=None):
    notes = []
    model = Busy(time)
    asker = Asker(
        journal, settings or EngineSettings(), clock=time.clock, sleep=time.sleep, note=notes.append
    )
    requests = [Request(kind="generate", prompt=f"q{number}") for number in range(400)]
    await asker.ask_all(model, requests)
    await asker.close()
    return asker.tally(model).outcome().concurrency, notes


async def test_a_run_finds_the_knee_of_its_server_and_says_so(journal, time):
    calls, notes = await run(journal, time)
    assert 16 <= calls <= 24
    assert notes == [note for note in notes if note.startswith(f"small: {calls} requests in")] != []


async def test_a_number_that_the_user_gives_is_kept(journal, time):
    assert await run(journal, time, EngineSettings(concurrency=30)) == (30, [])
