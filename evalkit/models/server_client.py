"""A lean HTTP client for one server: bytes in, bytes out, failures as `ModelError`s.

Not the OpenAI SDK: its default transport costs a hundred times the CPU of this, which is more
than a good GPU server needs to answer.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from evalkit.errors import TransientError
from evalkit.models.http_connection import Answer, HttpConnection, connect
from evalkit.models.http_errors import error_for, hide_secrets, rate_headers

Json = dict[str, Any]

#: How long a server may take to say which models it has.
OPEN_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 30.0
#: Servers close connections that idle (uvicorn after 5 s), and may do so just as we send.
_IDLE_S = 4.0
#: A server that takes more at once has not been seen.
_MOST_CONNECTIONS = 1024
#: Open files that a process has besides its connections.
_OTHER_FILES = 128


class _Place(NamedTuple):
    """What is derived from a URL once: where to connect, and what every request begins with."""

    host: str
    port: int
    secure: bool
    get: bytes
    post: bytes


class ServerClient:
    """Connections to one server, kept alive: as many as the engine has calls in flight."""

    def __init__(self, *, label: str, key: str, timeout_s: float) -> None:
        self.rate_headers: dict[str, str] = {}
        self._label, self._timeout_s = label, timeout_s
        self._secrets = (key,) if key else ()
        self._places: dict[str, _Place] = {}
        self._idle: list[tuple[HttpConnection, float]] = []
        self._busy: set[HttpConnection] = set()
        self._tls: ssl.SSLContext | None = None
        self._open = False
        self._encode = msgspec.json.Encoder().encode

    async def open(self) -> None:
        """Make ready to send; nothing is sent yet."""
        self._open = True

    async def close(self) -> None:
        """Close all connections."""
        self._open = False
        for connection in [*self._busy, *(idle for idle, _ in self._idle)]:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn

    async def get(self, url: str) -> tuple[int, bytes]:
        """The status and body that `url` answers, within a few seconds.

        Raises:
            OSError: Nothing answers.
            asyncio.TimeoutError: Nothing answers in time.
        """
        answer = await self._ask(self._place(url), self._place(url).get, b"", OPEN_TIMEOUT_S)
        return answer.status, answer.body

    async def post(self, url: str, body: Json) -> bytes:
        """The body of the answer to `body`.

        Raises:
            ModelError: The server refused, or the connection failed.
        """
        place = self._place(url)
        try:
            answer = await self._ask(place, place.post, self._encode(body), self._timeout_s)
        except asyncio.TimeoutError:
            raise TransientError(
                f"{self._label} did not answer within {self._timeout_s:g} s"
            ) from None
        except OSError as error:
            why = hide_secrets(str(error) or type(error).__name__, self._secrets)
            raise TransientError(f"The connection to {self._label} failed: {why}") from None
        if limits := rate_headers(answer.headers):
            self.rate_headers = limits
        if answer.status != 200:
            raise error_for(
                answer.status,
                answer.headers,
                _said(answer),
                model=self._label,
                secrets=self._secrets,
            )
        return answer.body

    async def _ask(self, place: _Place, begin: bytes, body: bytes, timeout_s: float) -> Answer:
        if not self._open:
            raise RuntimeError(f"{self._label} was asked before it was opened")
        connection = self._kept() or await self._connect(place, timeout_s)
        self._busy.add(connection)
        # one timer, where `wait_for` would start a task of its own for every request
        timer = asyncio.get_running_loop().call_later(timeout_s, connection.expire)
        try:
            return await connection.ask(b"%bcontent-length: %d\r\n\r\n" % (begin, len(body)), body)
        finally:
            timer.cancel()
            self._busy.discard(connection)
            if connection.reusable:
                self._idle.append((connection, time.monotonic()))

    def _kept(self) -> HttpConnection | None:
        """The connection that was used last, if one is still good."""
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and time.monotonic() - since < _IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, place: _Place, timeout_s: float) -> HttpConnection:
        if place.secure and self._tls is None:
            self._tls = ssl.create_default_context()
        tls = self._tls if place.secure else None
        return await asyncio.wait_for(
            connect(place.host, place.port, tls), min(_CONNECT_TIMEOUT_S, timeout_s)
        )

    def _place(self, url: str) -> _Place:
        place = self._places.get(url)
        if place is None:
            place = self._places[url] = _place(url, self._secrets)
        return place


def most_connections() -> int:
    """How many connections to one server may be open: what the system allows, at most 1,024."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, open_files - _OTHER_FILES))


def _place(url: str, secrets: tuple[str, ...]) -> _Place:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    secure = parts.scheme == "https"
    lines = [f"host: {parts.netloc}", "accept: application/json", "accept-encoding: identity"]
    lines += [f"authorization: Bearer {key}" for key in secrets]
    common = "".join(f"{line}\r\n" for line in lines)
    return _Place(
        host=parts.hostname or "",
        port=parts.port or (443 if secure else 80),
        secure=secure,
        get=f"GET {target} HTTP/1.1\r\n{common}".encode("latin-1"),
        post=f"POST {target} HTTP/1.1\r\n{common}content-type: application/json\r\n".encode(
            "latin-1"
        ),
    )


def _said(answer: Answer) -> bytes:
    """The body of a refusal; of a redirection, where it points (it is never followed)."""
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "nowhere")
        return f"it points to {where}: use that address as base_url".encode()
    return answer.body
