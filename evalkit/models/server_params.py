"""What a spec of `server/` and `vllm/` may set, and what follows from it before all else."""

from __future__ import annotations

import os
from typing import Any, Literal
from urllib.parse import urlsplit

from evalkit.config.model_spec import ModelSpec
from evalkit.errors import InputError, MissingKeyError
from evalkit.records import Record

#: Parameters that cannot change an answer, and the address, which `identity` holds anyway.
NOT_IDENTITY = ("api_key_env", "concurrency", "timeout_s", "base_url")


class ServerParams(Record, frozen=True, kw_only=True):
    """Parameters of `server/` and `vllm/`; sampling ones override what a task asks for.

    Args:
        base_url: Where the server is, usually ending in `/v1`.
        api_key_env: The variable with the server's key, if it wants one.
        api: `chat` and `completions` use that interface alone; `auto` sends messages to the
            one and raw text to the other.
        tokenizer: A local folder or hub id, or `server` for its `/tokenize`. Without it the
            server is asked whether it has one.
        prefix_token_id: The token before an empty context, where no tokenizer tells it.
        context_length: Prompt plus answer, in tokens, where the server does not tell.
        concurrency: Requests in flight; None looks for as many as make the server faster
            (behind a key, where an answer may have to be paid for: 64).
        timeout_s: How long one answer may take.
        loglikelihood: `auto` probes, `on` insists, `off` does not ask.
        max_tokens: Overrides a task's.
        temperature: Overrides a task's.
        top_p: Overrides a task's.
        top_k: Overrides a task's.
        seed: Overrides a task's.
        extra_body: A JSON object whose fields are added to every request.
    """

    base_url: str = ""
    api_key_env: str = ""
    api: Literal["auto", "chat", "completions"] = "auto"
    tokenizer: str = ""
    prefix_token_id: int | None = None
    context_length: int | None = None
    concurrency: int | None = None
    timeout_s: float = 600.0
    loglikelihood: Literal["auto", "on", "off"] = "auto"
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    extra_body: str | dict[str, Any] = ""


def base_url_of(spec: ModelSpec, params: ServerParams) -> str:
    """The address of the server, without a slash at its end.

    Raises:
        InputError: There is none, it is not one of HTTP, or it holds a password.
    """
    url = params.base_url or ("http://localhost:8000/v1" if spec.provider == "vllm" else "")
    if not url:
        raise InputError(
            f"Model {spec.label!r} needs base_url, for example "
            f"{spec.provider}/{spec.name}?base_url=http://localhost:8000/v1"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(
            f"Model {spec.label!r}: base_url {url!r} must begin with http:// or https://"
        )
    if parts.username or parts.password:
        raise InputError(
            f"Model {spec.label!r}: base_url must hold no password; put the key into an "
            "environment variable and name it with api_key_env"
        )
    return url.rstrip("/")


def key_of(params: ServerParams) -> str:
    """The server's key; empty where it wants none.

    Raises:
        MissingKeyError: The variable that holds it is not set.
    """
    if not params.api_key_env:
        return ""
    key = os.environ.get(params.api_key_env, "")
    if not key:
        raise MissingKeyError(
            f"The environment variable {params.api_key_env} is not set; it must hold the "
            f"key of the server at {params.base_url}"
        )
    return key
