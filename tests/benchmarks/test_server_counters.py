"""The local server's counters of time, bytes and load, and its shared capacity."""

import asyncio
import json
import urllib.request

import pytest

from benchmarks.hammer import request_bytes
from benchmarks.local_server import LocalServer, read_settings
from benchmarks.server_settings import Settings
from benchmarks.server_stats import Stats
from benchmarks.serving import Serving

BODY = {"model": "local-model", "messages": [{"role": "user", "content": "Hello"}]}


def post(server, body=BODY):
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def get(server, path):
    with urllib.request.urlopen(server.origin + path, timeout=10) as answer:
        return json.load(answer)


async def raw(server, *requests):
    """What the server sends for `requests`, written in one piece over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"".join(requests))
    answers = []
    for _ in requests:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        answers.append(head + await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return answers


async def test_bytes_are_counted_as_they_came_and_went():
    requests = [request_bytes(BODY), request_bytes(BODY | {"max_tokens": 5})]
    with LocalServer() as server:
        answers = await raw(server, *requests)
        assert server.stats.bytes_in == sum(map(len, requests))
        assert server.stats.bytes_out == sum(map(len, answers))


async def test_the_names_of_headers_may_be_written_in_any_way():
    request = request_bytes(BODY).replace(b"Content-Length", b"CONTENT-LENGTH")
    with LocalServer() as server:
        (answer,) = await raw(server, request)
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_the_first_request_and_the_last_answer_have_their_times():
    stats = Stats()
    stats.begin(10.0)
    stats.begin(11.0)
    stats.end(12.0)
    stats.end(14.0)
    assert (stats.first_request, stats.last_answer) == (10.0, 14.0)


def test_the_mean_load_is_weighted_by_time():
    stats = Stats()
    stats.begin(10.0)
    stats.begin(11.0)
    stats.end(12.0)
    stats.end(14.0)
    assert stats.mean_in_flight == (1 + 2 + 2 * 1) / 4


def test_nothing_asked_is_no_load():
    assert Stats().mean_in_flight == 0


def test_a_reset_forgets_all_but_what_is_in_flight():
    stats = Stats()
    stats.begin(10.0)
    stats.begin(11.0)
    stats.end(12.0)
    stats.reset()
    assert (stats.received, stats.in_flight, stats.first_request) == (0, 1, 0.0)


def test_the_counters_can_be_read_and_reset_over_http():
    with LocalServer() as server:
        post(server)
        before, after = get(server, "/_stats?reset=1"), get(server, "/_stats")
    assert (before["received"], after["received"]) == (1, 0)
    assert before["last_answer"] >= before["first_request"] > 0


def test_looking_at_the_counters_is_not_counted_as_bytes():
    with LocalServer() as server:
        get(server, "/_stats")
        assert get(server, "/_stats")["bytes_in"] == 0


@pytest.mark.parametrize(("working", "delay"), [(1, 0.2), (4, 0.2), (8, 0.4), (40, 2.0)])
def test_a_shared_capacity_slows_everyone_beyond_it(working, delay):
    serving = Serving(Settings(latency_s=0.2, capacity=4, shared=True))
    serving._working = working
    assert serving._delay(b"") == pytest.approx(delay)


def test_a_shared_capacity_is_a_flag():
    settings = read_settings(["--capacity", "8", "--shared"])
    assert (settings.capacity, settings.shared) == (8, True)


def test_an_answer_is_cut_at_the_limit_and_only_there():
    with LocalServer(Settings(answer=lambda ask: "one two three")) as server:
        whole = post(server, BODY | {"max_tokens": 13})["choices"][0]
        part = post(server, BODY | {"max_tokens": 2})["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == ("one two three", "stop")
    assert (part["message"]["content"], part["finish_reason"]) == ("one two", "length")
