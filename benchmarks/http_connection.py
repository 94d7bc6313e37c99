"""A small HTTP/1.1 server side on a raw asyncio protocol: fast enough not to be what is measured.

Keep-alive, `Content-Length` bodies, one request of a connection at a time. It knows nothing
of language models: `serve` gets each request and a way to answer it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True)
class HttpRequest:
    """One request as it arrived; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, serve: Callable[[HttpRequest, Connection], None]) -> None:
        self._serve = serve
        self._buffer = bytearray()
        self._busy = self._lost = False
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        """Whether the client is still there; also true before asyncio has told of it."""
        return not self._lost and not (self._transport and self._transport.is_closing())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._busy:
            return
        request = self._take()
        if request is not None:
            self._busy = True
            self._serve(request, self)

    def _take(self) -> HttpRequest | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect") == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "transfer-encoding" in headers:
            self.answer(411, b'{"error": {"message": "send a Content-Length"}}', {})
            self.drop()
            return None
        stop = end + 4 + int(headers.get("content-length", 0))
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        method, path, _ = head[0].split(" ", 2)
        return HttpRequest(method=method, path=path, headers=headers, body=body)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a whole answer and go on to the next request."""
        kind = headers.get("content-type", "application/json")
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if k != "content-type")
        self._write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status != 529 else 'Overloaded'}\r\n"
            f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode("latin-1")
            + body
        )
        self._done()

    def stream(self, chunks: Iterable[bytes], headers: dict[str, str]) -> None:
        """Send server-sent events in chunked encoding and go on to the next request."""
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        self._write(f"{head}transfer-encoding: chunked\r\n{lines}\r\n".encode("latin-1"))
        for chunk in chunks:
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self._write(b"0\r\n\r\n")
        self._done()

    def drop(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _done(self) -> None:
        self._busy = False
        if self._buffer:
            self._next()
