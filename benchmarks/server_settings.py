"""How the local server behaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.answers import Script, text_hash
from benchmarks.faults import Faults
from benchmarks.text_protocol import TextAbilities
from benchmarks.toy_language import Tokenizer, ToyTokenizer


@dataclass(frozen=True)
class Settings:
    """How the server behaves.

    Args:
        answer: What it says; a pure function of the request.
        models: The names that it serves.
        owner: `owned_by` in its model list.
        key: Requests without it are answered 401; None takes any.
        latency_s: Time from a request's arrival (at a free place) to its answer.
        jitter_s: Up to this much more, by the hash of the body.
        capacity: How many requests it works on at once; others wait in line.
        shared: Nobody waits in line: beyond the capacity all share it, as on a GPU. A request
            that arrives as the n-th in flight takes n / capacity times the latency.
        requests_per_minute: Beyond this it answers 429 with Retry-After.
        count_bodies: Keep a count a body; off keeps memory flat.
        log_bodies: Keep the bodies themselves, in order.
        prefix_cache: Tell in `usage` which part of a prompt was seen before, as vLLM does with
            `--enable-prompt-tokens-details`.
    """

    answer: Script = text_hash
    models: tuple[str, ...] = ("local-model",)
    owner: str = "vllm"
    key: str | None = None
    port: int = 0
    latency_s: float = 0.0
    jitter_s: float = 0.0
    capacity: int | None = None
    shared: bool = False
    requests_per_minute: int | None = None
    faults: Faults = field(default_factory=Faults)
    abilities: TextAbilities = field(default_factory=TextAbilities)
    tokenizer: Tokenizer = field(default_factory=ToyTokenizer)
    count_bodies: bool = True
    log_bodies: bool = False
    prefix_cache: bool = False
