"""A lean HTTP client for one server: bytes in, bytes out, failures as `ModelError`s.

Not the OpenAI SDK: its default transport costs about twenty times the CPU of this, which
is more than a good GPU server needs to answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec

from evalkit.errors import TransientError
from evalkit.models.http_errors import error_for, hide_secrets, rate_headers

Json = dict[str, Any]

#: How long a server may take to say which models it has.
OPEN_TIMEOUT_S = 5.0


class ServerClient:
    """Connections to one server, kept alive: as many as the engine has calls in flight."""

    def __init__(self, *, label: str, key: str, timeout_s: float) -> None:
        self.rate_headers: dict[str, str] = {}
        self._label = label
        self._secrets = (key,) if key else ()
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=None, sock_connect=30)
        self._session: aiohttp.ClientSession | None = None
        self._encode = msgspec.json.Encoder().encode

    async def open(self) -> None:
        """Make ready to send; nothing is sent yet."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=self._timeout,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: str) -> tuple[int, bytes]:
        """The status and body that `url` answers, within a few seconds.

        Raises:
            aiohttp.ClientError: Nothing answers.
            asyncio.TimeoutError: Nothing answers in time.
        """
        timeout = aiohttp.ClientTimeout(total=OPEN_TIMEOUT_S)
        async with self._ready().get(url, timeout=timeout) as answer:
            return answer.status, await answer.read()

    async def post(self, url: str, body: Json) -> bytes:
        """The body of the answer to `body`.

        Raises:
            ModelError: The server refused, or the connection failed.
        """
        try:
            async with self._ready().post(url, data=self._encode(body)) as answer:
                content = await answer.read()
        except asyncio.TimeoutError:
            seconds = self._timeout.total or 0
            raise TransientError(f"{self._label} did not answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            why = hide_secrets(str(error) or type(error).__name__, self._secrets)
            raise TransientError(f"The connection to {self._label} failed: {why}") from None
        if limits := rate_headers(answer.headers):
            self.rate_headers = limits
        if answer.status != 200:
            raise error_for(
                answer.status, answer.headers, content, model=self._label, secrets=self._secrets
            )
        return content

    def _ready(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError(f"{self._label} was asked before it was opened")
        return self._session
