"""What the local server answers: scripts for tests, and simple rules for measurements."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ask:
    """One request as the script sees it: `prompt` is all of its text, `last` the last turn's.

    `draw` counts the choices of one request that asks for several (`n`).
    """

    path: str
    body: dict[str, Any]
    prompt: str
    last: str
    draw: int = 0


@dataclass(frozen=True)
class Answer:
    """What to answer; `tool_calls` are pairs of a name and the JSON text of its arguments.

    `finish_reason` overrides the one that follows from the answer (for OpenAI's protocol in
    OpenAI's words, for Anthropic's in Anthropic's). `raw` replaces the whole body.
    """

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    refusal: str | None = None
    reasoning: str = ""
    finish_reason: str | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


Script = Callable[[Ask], "Answer | str"]


def text_hash(ask: Ask) -> str:
    """An answer of sixteen hexadecimal digits that only the prompt decides."""
    return hashlib.blake2b(ask.prompt.encode(), digest_size=8).hexdigest()


def script_named(directive: str) -> Script:
    """The script of a CLI directive: `hash`, `fixed:TEXT`, `echo` or `echo:N` (last N characters).

    Raises:
        ValueError: The directive is none of these.
    """
    name, _, argument = directive.partition(":")
    if name == "hash":
        return text_hash
    if name == "fixed":
        return lambda ask: argument
    if name == "echo":
        length = int(argument or 64)
        return lambda ask: ask.last[-length:]
    raise ValueError(f"answer {directive!r} is not hash, fixed:TEXT, echo or echo:N")
