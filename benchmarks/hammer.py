"""How many small chat requests a second the local server answers, so that it is not the bottleneck.

    python -m benchmarks.hammer --requests 100000 --connections 64

The client is a raw asyncio protocol on core 0 that sends the same bytes again and again; the
server runs on core 1. Prints one JSON line; `server_requests_per_cpu_second` is what the server
could answer with a client that costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import msgspec

from benchmarks.server_process import ServerProcess
from benchmarks.workloads import ANSWER, question

_BODY = {
    "model": "local-model",
    "messages": [{"role": "user", "content": question(1)}],
    "max_tokens": 32,
    "temperature": 0.0,
    "stop": ["\n\n"],
}


def request_bytes(body: object) -> bytes:
    """A whole POST of `body` as a client sends it."""
    encoded = msgspec.json.encode(body)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nUser-Agent: hammer\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


class _Client(asyncio.Protocol):
    """Sends `data` whenever an answer is complete, until `left` says that it is enough."""

    def __init__(self, data: bytes, left: list[int], done: asyncio.Event) -> None:
        self._data, self._left, self._done = data, left, done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        start = self._buffer.find(b"content-length: ", 0, end)
        if end < 0 or len(self._buffer) < end + 4 + int(self._buffer[start + 16 :].split(b"\r")[0]):
            return
        self._buffer = b""
        self._left[0] -= 1
        if self._left[0] <= 0:
            self._done.set()
        else:
            self._transport.write(self._data)


async def _send(port: int, requests: int, connections: int) -> float:
    loop = asyncio.get_running_loop()
    data, left, done = request_bytes(_BODY), [requests], asyncio.Event()
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(data, left, done), "127.0.0.1", port)
    await done.wait()
    return time.perf_counter() - started


def measure(requests: int, connections: int) -> dict[str, float]:
    """Send `requests` requests over `connections` connections."""
    with ServerProcess(["--answer", ANSWER, "--no-count-bodies"], core=1) as server:
        before = server.cpu_seconds()
        seconds = asyncio.run(_send(server.port, requests, connections))
        cpu = server.cpu_seconds() - before
    return {
        "requests": requests,
        "connections": connections,
        "requests_per_second": round(requests / seconds),
        "server_requests_per_cpu_second": round(requests / cpu),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.requests, arguments.connections)))


if __name__ == "__main__":
    main()
