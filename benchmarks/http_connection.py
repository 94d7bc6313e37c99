"""A small HTTP/1.1 server side on a raw asyncio protocol: fast enough not to be what is measured.

Keep-alive, `Content-Length` bodies, one request of a connection at a time. It knows nothing
of language models: `serve` gets each request and a way to answer it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus

#: The only headers that say how a request is read; the others are parsed when asked for.
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|expect):[ \t]*([^\r]*)", re.I)
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class HttpRequest:
    """One request as it arrived; `size` is its length in bytes, its head included."""

    __slots__ = ("_head", "body", "method", "path", "size")

    def __init__(self, head: bytes, body: bytes) -> None:
        self._head, self.body = head, body
        line = head.partition(b"\r\n")[0].decode("latin-1")
        self.method, self.path, _ = line.split(" ", 2)
        self.size = len(head) + 4 + len(body)

    @property
    def headers(self) -> dict[str, str]:
        """The headers; their names in lower case."""
        found = {}
        for line in self._head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            found[name.lower()] = value.strip()
        return found


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        serve: Is given each request.
        sent: Is told how many bytes have been sent.
    """

    def __init__(
        self, serve: Callable[[HttpRequest, Connection], None], sent: Callable[[int], None]
    ) -> None:
        self._serve, self._sent = serve, sent
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
        head = bytes(self._buffer[:end])
        framing = {name.lower(): value for name, value in _FRAMING.findall(head)}
        if framing.get(b"expect", b"").lower() == b"100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"transfer-encoding" in framing:
            self.answer(411, b'{"error": {"message": "send a Content-Length"}}', {})
            self.drop()
            return None
        stop = end + 4 + int(framing.get(b"content-length", 0))
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        return HttpRequest(head, body)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a whole answer and go on to the next request."""
        if status == 200 and not headers:
            self._write(_OK % (len(body), body))
        else:
            self._write(_head(status, len(body), headers) + body)
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
            self._sent(len(data))  # first: who has the answer may look at the counters
            self._transport.write(data)

    def _done(self) -> None:
        self._busy = False
        if self._buffer:
            self._next()


def _head(status: int, size: int, headers: dict[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase if status != 529 else "Overloaded"
    kind = headers.get("content-type", "application/json")
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if k != "content-type")
    return (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {kind}\r\n"
        f"content-length: {size}\r\n{lines}\r\n"
    ).encode("latin-1")
