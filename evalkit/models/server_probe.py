"""What a server is and can do, learned before anything is asked of it.

References: vLLM's model cards carry `max_model_len`; llama.cpp tells its context in `/props`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from evalkit.errors import (
    AccessError,
    InputError,
    RequestError,
    TransientError,
    UnknownNameError,
    UnreachableError,
)
from evalkit.models.http_errors import hide_secrets, read_error
from evalkit.models.server_client import OPEN_TIMEOUT_S, ServerClient
from evalkit.models.server_logprobs import (
    Prompt,
    Route,
    gives_prompt_logprobs,
    question,
    read_choices,
)

Json = dict[str, Any]

_ECHO = (Route(kind="echo", max_tokens=0), Route(kind="echo", max_tokens=1))
_VLLM = Route(kind="prompt_logprobs", max_tokens=1)
_PATIENCE = 5
_PROBE_TIMEOUT_S = 60.0
_LONGEST_WAIT_S = 10.0


class CardDetails(msgspec.Struct):
    """What llama.cpp adds to a model card."""

    n_ctx: int | None = None


class ModelCard(msgspec.Struct):
    """One entry of a server's model list; vLLM and llama.cpp tell the context length in it."""

    id: str
    owned_by: str = ""
    max_model_len: int | None = None
    meta: CardDetails | None = None

    @property
    def context_length(self) -> int | None:
        """Prompt plus answer, in tokens."""
        return self.max_model_len or (self.meta.n_ctx if self.meta else None)


class _ModelList(msgspec.Struct):
    data: list[ModelCard] = []


class _Generation(msgspec.Struct):
    n_ctx: int | None = None


class _Props(msgspec.Struct):
    default_generation_settings: _Generation = msgspec.field(default_factory=_Generation)


async def read_models(
    client: ServerClient, base_url: str, secrets: Sequence[str]
) -> list[ModelCard]:
    """The models that the server lists; empty where it keeps no list.

    Raises:
        UnreachableError: Nothing answers at `base_url`, or something that is no such server.
        InputError: The server refuses the key.
    """
    url = f"{base_url}/models"
    try:
        status, body = await client.get(url)
    except (asyncio.TimeoutError, OSError) as error:
        raise UnreachableError(
            f"No server answers at {base_url} ({why_unreachable(error)}). "
            "Start it, or correct base_url."
        ) from None
    if status in (401, 403):
        said = hide_secrets(read_error(body)[0], secrets)
        raise InputError(
            f"The server at {base_url} refuses the key (HTTP {status}: {said}); "
            "name the variable that holds it with api_key_env=NAME"
        )
    if status == 404 and urlsplit(base_url).path in ("", "/"):
        raise UnreachableError(
            f"The server at {base_url} has no /models; base_url usually ends in /v1"
        )
    if status in (404, 405, 501):
        return []
    try:
        return (
            msgspec.json.decode(body, type=_ModelList).data if status == 200 else _odd(url, status)
        )
    except msgspec.DecodeError:
        return _odd(url, status)


def _odd(url: str, status: int) -> list[ModelCard]:
    raise UnreachableError(
        f"{url} does not answer with a list of models (HTTP {status}): "
        "is base_url that of an OpenAI-compatible server?"
    )


def why_unreachable(error: Exception) -> str:
    """Why nothing answered, in two words."""
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {OPEN_TIMEOUT_S:g} s"
    # a name with several addresses fails with all their errors in one
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "connection refused"
    return str(error) or type(error).__name__


def choose_model(name: str, cards: Sequence[ModelCard], base_url: str) -> ModelCard:
    """The card of the model `name`; `auto` takes the only one there is.

    Raises:
        UnknownNameError: The server lists models, and not this one.
        InputError: `auto`, and there is not exactly one.
    """
    known = [card.id for card in cards]
    if name == "auto":
        if len(cards) == 1:
            return cards[0]
        raise InputError(
            f"The server at {base_url} lists {len(cards)} models"
            f"{': ' + ', '.join(known[:10]) if known else ''}; name one instead of 'auto'"
        )
    if not cards:
        return ModelCard(id=name)
    for card in cards:
        if card.id == name:
            return card
    hint = f"The server at {base_url} has: {', '.join(known[:20])}."
    raise UnknownNameError("model", name, known, hint)


async def llama_cpp_context(client: ServerClient, origin: str) -> int | None:
    """The context length that llama.cpp's `/props` tells; None where it does not."""
    try:
        status, body = await client.get(f"{origin}/props")
        props = msgspec.json.decode(body, type=_Props) if status == 200 else _Props()
    except (asyncio.TimeoutError, OSError, msgspec.DecodeError):
        return None
    return props.default_generation_settings.n_ctx


async def find_route(client: ServerClient, base_url: str, card: ModelCard) -> Route | None:
    """How the server gives log-probabilities of a prompt; None if it does not.

    vLLM's own way is tried first where the server says that it is vLLM: it names tokens by
    their ids, and two tokens that print alike stay apart.

    Raises:
        UnreachableError: The server does not answer these questions.
        InputError: The server refuses access altogether.
    """
    url = f"{base_url}/completions"
    routes = [_VLLM, *_ECHO] if card.owned_by == "vllm" else [*_ECHO, _VLLM]
    for route in routes:
        body = await ask_patiently(client, url, question(route, card.id, "1 2 3"))
        if body is not None and gives_prompt_logprobs(body, route):
            return route
    return None


async def takes_several(
    client: ServerClient, url: str, model: str, route: Route, prompts: Sequence[Prompt]
) -> bool:
    """Whether one question about several prompts is answered with as many judgements.

    Raises:
        UnreachableError: The server does not answer.
        InputError: The server refuses access altogether.
    """
    body = await ask_patiently(client, url, question(route, model, *prompts))
    try:
        return body is not None and bool(read_choices(body, len(prompts)))
    except TransientError:
        return False


async def ask_patiently(client: ServerClient, url: str, body: Json) -> bytes | None:
    """The answer to a question about the server itself; None where it has no such ability.

    A passing failure must not pass for a missing ability, so it is waited out a few times.

    Raises:
        UnreachableError: It does not answer, or not in time.
        InputError: It refuses access.
    """
    for attempt in range(_PATIENCE):
        try:
            return await asyncio.wait_for(client.post(url, body), _PROBE_TIMEOUT_S)
        except AccessError as error:
            if error.status_code in (404, 405):
                return None
            raise InputError(str(error)) from None
        except RequestError:
            return None
        except asyncio.TimeoutError:
            raise UnreachableError(f"{url} did not answer in {_PROBE_TIMEOUT_S:g} s") from None
        except TransientError as error:
            last = error
        if attempt < _PATIENCE - 1:
            await asyncio.sleep(min(last.retry_after_s or 0.1 * 2**attempt, _LONGEST_WAIT_S))
    if last.status_code is None or last.rate_limited:
        raise UnreachableError(f"{url} cannot be asked what it can do: {last}")
    return None  # some servers answer what they cannot do with 500
