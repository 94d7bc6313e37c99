"""One HTTP/1.1 connection: a request goes out, its answer comes back, and so on while it is kept.

Why not aiohttp: its client takes two and a half times the CPU of this one for a small chat request
(`docs/performance.md`), and a server on the same machine needs that core. The parser is llhttp
(https://llhttp.org), through httptools.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import httptools

#: A body is handed to the system in pieces of this size, so that a long prompt which waits for a
#: slow connection is not held a second time by the transport.
_PIECE = 256 * 1024
#: An answer longer than this is none.
_LONGEST = 512 * 1024 * 1024


class Answer(NamedTuple):
    """What a server answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BrokenConnectionError(OSError):
    """The connection ended before the answer did, or carried something that is not HTTP."""


class HttpConnection(asyncio.Protocol):
    """A connection that carries one request at a time.

    Attributes:
        reusable: Whether another request may follow: it is open, idle, and both sides keep it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self.reusable = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._until_closed = False

    async def ask(self, head: bytes, body: bytes) -> Answer:
        """Send a request and wait for its answer; nothing else may be on its way.

        Args:
            head: Request line and headers, with the empty line that ends them.
            body: The body whose length `head` tells.

        Raises:
            BrokenConnectionError: The connection broke, or the answer is no HTTP.
        """
        assert self._transport is not None and self._answer is None
        self.reusable = False
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        try:
            if len(body) <= _PIECE:
                self._transport.write(head + body)
            else:
                await self._send_long(head, body)
            del body  # a long prompt is held once while the server thinks
            return await answer
        finally:
            self._answer = None
            if not self.reusable:  # broken, cancelled, or the server's last answer
                self._transport.abort()

    async def _send_long(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None and self._answer is not None
        self._transport.write(head)
        rest = memoryview(body)
        while rest and not self._answer.done():
            if self._paused:
                self._writable = self._loop.create_future()
                await self._writable
            self._transport.write(rest[:_PIECE])
            rest = rest[_PIECE:]

    def expire(self) -> None:
        """Give up the answer that is waited for: its time is over."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(asyncio.TimeoutError())

    def close(self) -> None:
        """Close it; an answer that is waited for fails."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.reusable = transport, True

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed: a body without a length ends here, anything else is cut off."""
        self.reusable = False
        if self._until_closed and error is None:
            self.on_message_complete()
            self.reusable = False
        self._fail(f"the server closed the connection ({error})" if error else _CLOSED)
        self.resume_writing()

    def pause_writing(self) -> None:
        """The system takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """The system takes more again."""
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        if self._answer is None:  # nobody asked: such a connection cannot be trusted
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP: {error}")
            self.close()

    # what the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The body begins."""
        bounded = "content-length" in self._headers or "transfer-encoding" in self._headers
        self._until_closed = not bounded and self._parser.get_status_code() not in (204, 304)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _LONGEST:
            self._fail(f"the answer is longer than {_LONGEST:,} bytes")
            self.close()

    def on_message_complete(self) -> None:
        """The answer is here."""
        status = self._parser.get_status_code()
        answer = Answer(status, self._headers, b"".join(self._pieces))
        keep = self._parser.should_keep_alive() and not self._until_closed
        self._headers, self._pieces, self._size = {}, [], 0
        self._until_closed = False
        if status < 200:
            return  # an interim answer: the real one follows
        if self._answer is None or self._answer.done():
            self.close()  # an answer that nobody asked for: the next one may be no better
            return
        self.reusable = keep
        self._answer.set_result(answer)

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BrokenConnectionError(why))


_CLOSED = "the server closed the connection without an answer"


async def connect(host: str, port: int, tls: ssl.SSLContext | None) -> HttpConnection:
    """A new connection, encrypted where `tls` says how.

    Raises:
        OSError: Nothing answers there.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        HttpConnection, host, port, ssl=tls, happy_eyeballs_delay=0.25
    )
    return connection
