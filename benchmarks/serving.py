"""What the local server does with a request: count, wait, fail on purpose, answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, deque
from dataclasses import replace
from typing import Any

import msgspec

from benchmarks import anthropic_protocol, openai_protocol, text_protocol
from benchmarks.answers import Answer, Ask
from benchmarks.http_connection import Connection, HttpRequest
from benchmarks.openai_protocol import BadRequest
from benchmarks.prefix_cache import PrefixCache
from benchmarks.server_settings import Settings
from benchmarks.server_stats import Stats

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

ERROR_NAMES = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("invalid_request_error", "authentication_error"),
    404: ("invalid_request_error", "not_found_error"),
    429: ("requests", "rate_limit_error"),
    500: ("server_error", "api_error"),
}


class Serving:
    """The state of one server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._digests = settings.count_bodies or settings.faults.any or bool(settings.jitter_s)
        self.stats = Stats()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._connections: set[Connection] = set()
        self._waiting: deque[tuple[HttpRequest, Connection, bytes]] = deque()
        self._working = 0
        self._hit: Counter[bytes] = Counter()
        self._minute: deque[float] = deque()
        self._cache = PrefixCache() if settings.prefix_cache else None

    def track(self, connection: Connection) -> Connection:
        """Remember a new connection, so that it can be closed at the end."""
        self.stats.connections += 1
        self._connections = {c for c in self._connections if c.open} | {connection}
        return connection

    def close(self) -> None:
        """Cut all connections."""
        for connection in self._connections:
            connection.drop()

    def sent(self, size: int) -> None:
        """Count bytes that a connection has sent."""
        self.stats.bytes_out += size

    def receive(self, request: HttpRequest, connection: Connection) -> None:
        """Take a request; it is answered now, later, or (as a fault) never."""
        if request.method == "GET" or request.path in ("/tokenize", "/detokenize"):
            self._small(request, connection)
            return
        body = request.body
        digest = hashlib.blake2b(body, digest_size=16).digest() if self._digests else b""
        self._count(request, digest)
        settings = self.settings
        if settings.capacity is None or settings.shared or self._working < settings.capacity:
            self._start(request, connection, digest)
        else:
            self._waiting.append((request, connection, digest))

    def _count(self, request: HttpRequest, digest: bytes) -> None:
        stats = self.stats
        stats.begin(time.time())
        stats.bytes_in += request.size
        if self.settings.count_bodies:
            stats.bodies[digest.hex()] += 1
        if self.settings.log_bodies:
            stats.log.append(_decode(request.body))
            stats.last_headers = request.headers

    def _start(self, request: HttpRequest, connection: Connection, digest: bytes) -> None:
        self._working += 1
        delay = self._delay(digest)
        if delay:
            assert self.loop is not None
            self.loop.call_later(delay, self._finish, request, connection, digest)
        else:
            self._finish(request, connection, digest)

    def _delay(self, digest: bytes) -> float:
        """Seconds that a request takes which starts now."""
        settings = self.settings
        delay = settings.latency_s
        if settings.jitter_s:
            delay += settings.jitter_s * int.from_bytes(digest[:4], "big") / 2**32
        if settings.shared and settings.capacity is not None:
            delay *= max(1.0, self._working / settings.capacity)
        return delay

    def _finish(self, request: HttpRequest, connection: Connection, digest: bytes) -> None:
        self._working -= 1
        self.stats.end(time.time())
        fault = self._fault(digest)
        if fault:
            self.stats.faults[fault] += 1
            self._fail(fault, request, connection)
        else:
            self._answer(request, connection)
        if self._waiting:
            self._start(*self._waiting.popleft())

    def _fault(self, digest: bytes) -> str:
        faults = self.settings.faults
        kind = faults.pick(digest, self._hit[digest]) if faults.any else ""
        if kind:
            self._hit[digest] += 1
        return kind

    def _fail(self, fault: str, request: HttpRequest, connection: Connection) -> None:
        if fault == "dropped":
            connection.drop()
        elif fault == "malformed":
            connection.answer(200, b'{"id": "cmpl-local", "choices": [{"mess', {})
        elif fault == "rate_limited":
            wait = {"retry-after": f"{self.settings.faults.retry_after_s:g}"}
            self._error(request, connection, BadRequest("Rate limit reached", status=429), wait)
        elif fault == "server_error":
            self._error(request, connection, BadRequest("The server had an error", status=500))
        # "hanging": nothing is ever sent

    def _answer(self, request: HttpRequest, connection: Connection) -> None:
        try:
            self._authorise(request)
            headers = self._limits(request)
            body = _decode_object(request.body)
            self._dispatch(request.path.partition("?")[0], body, connection, headers)
        except BadRequest as refused:
            wait = {"retry-after": "1"} if refused.status == 429 else {}
            self._error(request, connection, refused, wait)
        except msgspec.MsgspecError as error:
            self._error(request, connection, BadRequest(f"not a JSON object: {error}"))
        else:
            self.stats.answered += 1

    def _dispatch(
        self, path: str, body: dict[str, Any], connection: Connection, headers: dict[str, str]
    ) -> None:
        if path == "/v1/messages":
            self._message(body, connection, headers)
            return
        self._known_model(body)
        if path == "/v1/chat/completions":
            self._chat(body, connection, headers)
        elif path == "/v1/completions":
            ask = Ask(path=path, body=body, prompt="", last="")
            settings = self.settings
            payload = text_protocol.text_completion(
                ask, settings.answer, settings.tokenizer, settings.abilities, self._cache
            )
            connection.answer(200, _encode(payload), headers)
        else:
            raise BadRequest(f"Not Found: {path}", status=404)

    def _chat(self, body: dict[str, Any], connection: Connection, headers: dict[str, str]) -> None:
        ask = openai_protocol.read_chat("/v1/chat/completions", body)
        draws = text_protocol.draws_of(body, self.settings.abilities)
        answers = [self._say(replace(ask, draw=draw) if draw else ask) for draw in range(draws)]
        answer = answers[0]
        headers = headers | answer.headers
        if answer.raw is not None or answer.status != 200:
            connection.answer(answer.status, answer.raw or b"{}", headers)
            return
        completion = openai_protocol.chat_completion(ask, answers, self.settings.tokenizer)
        if self._cache is not None:
            cached = self._cache.read(ask.prompt)
            completion["usage"]["prompt_tokens_details"] = {"cached_tokens": (cached + 3) // 4}
        if body.get("stream"):
            connection.stream(openai_protocol.chat_chunks(ask, completion), headers)
        else:
            connection.answer(200, _encode(completion), headers)

    def _message(
        self, body: dict[str, Any], connection: Connection, headers: dict[str, str]
    ) -> None:
        ask = anthropic_protocol.read_message("/v1/messages", body)
        answer = self._say(ask)
        headers = headers | answer.headers
        if answer.raw is not None or answer.status != 200:
            connection.answer(answer.status, answer.raw or b"{}", headers)
            return
        payload = anthropic_protocol.message(ask, answer, self.settings.tokenizer)
        if body.get("stream"):
            connection.stream(anthropic_protocol.message_events(payload), headers)
        else:
            connection.answer(200, _encode(payload), headers)

    def _say(self, ask: Ask) -> Answer:
        said = self.settings.answer(ask)
        return Answer(text=said) if isinstance(said, str) else said

    def _authorise(self, request: HttpRequest) -> None:
        key = self.settings.key
        if key is None:
            return
        given = (request.headers.get("authorization"), request.headers.get("x-api-key"))
        if given[0] != f"Bearer {key}" and given[1] != key:
            shown = given[1] or (given[0] or "").removeprefix("Bearer ")
            raise BadRequest(f"Incorrect API key provided: {shown}.", "invalid_api_key", 401)

    def _known_model(self, body: dict[str, Any]) -> None:
        if body.get("model") not in self.settings.models:
            message = f"The model `{body.get('model')}` does not exist."
            raise BadRequest(message, "model_not_found", 404)

    def _limits(self, request: HttpRequest) -> dict[str, str]:
        limit = self.settings.requests_per_minute
        if limit is None:
            return {}
        now = time.monotonic()
        while self._minute and now - self._minute[0] >= 60:
            self._minute.popleft()
        if len(self._minute) >= limit:
            raise BadRequest("Rate limit reached for requests per minute", status=429)
        self._minute.append(now)
        maker = "anthropic-ratelimit-requests-" if "messages" in request.path else ""
        left = str(limit - len(self._minute))
        if maker:
            return {f"{maker}limit": str(limit), f"{maker}remaining": left}
        return {"x-ratelimit-limit-requests": str(limit), "x-ratelimit-remaining-requests": left}

    def _error(
        self,
        request: HttpRequest,
        connection: Connection,
        refused: BadRequest,
        headers: dict[str, str] | None = None,
    ) -> None:
        openai_kind, anthropic_kind = ERROR_NAMES.get(refused.status, ERROR_NAMES[400])
        if request.path.startswith("/v1/messages"):
            body = anthropic_protocol.error_body(str(refused), anthropic_kind)
        else:
            body = openai_protocol.error_body(str(refused), openai_kind, refused.code)
        connection.answer(refused.status, _encode(body), headers or {})

    def _small(self, request: HttpRequest, connection: Connection) -> None:
        path, _, query = request.path.partition("?")
        settings = self.settings
        self.stats.other += 1
        self.stats.bytes_in += request.size if path != "/_stats" else 0
        try:
            if path == "/_stats":
                payload: Any = self.stats.summary(with_bodies="bodies=1" in query)
                if "reset=1" in query:
                    self.stats.reset()
            elif path == "/v1/models":
                self._authorise(request)
                payload = self._models()
            elif path == "/tokenize" and settings.abilities.tokenize:
                body = _decode(request.body)
                payload = text_protocol.tokenize(body, settings.tokenizer, settings.abilities)
            elif path == "/detokenize" and settings.abilities.tokenize:
                payload = text_protocol.detokenize(_decode(request.body), settings.tokenizer)
            else:
                raise BadRequest(f"Not Found: {path}", status=404)
        except BadRequest as refused:
            self._error(request, connection, refused)
        else:
            connection.answer(200, _encode(payload), {})

    def _models(self) -> dict[str, Any]:
        settings = self.settings
        entry = {"object": "model", "created": 1_700_000_000, "owned_by": settings.owner}
        if settings.abilities.max_model_len is not None:
            entry["max_model_len"] = settings.abilities.max_model_len
        return {"object": "list", "data": [entry | {"id": name} for name in settings.models]}
