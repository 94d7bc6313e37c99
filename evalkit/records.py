"""The words that everything else speaks: what is asked, what came back, how it was scored.

All records are frozen msgspec structs. `canonical` gives one JSON text for one meaning
(keys sorted, defaults left out), and `content_hash` the hash that names it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

#: How an answer, and the sample that asked for it, ended.
#: ok         the model answered
#: truncated  it hit the token limit; what there is, is scored and counted
#: refused    the model (or its provider's policy) declined to answer
#: filtered   the provider removed the answer
#: unparsed   the scorer found no verdict in the answer: counts as wrong, and is counted
#: unscored   the scorer itself could not run; left out of every mean
#: error      infrastructure failed; left out of every mean, asked again on resume
Status = Literal["ok", "truncated", "refused", "filtered", "unparsed", "unscored", "error"]

#: generate       answer freely
#: loglikelihood  log p(continuation | prompt)
#: rolling        log p(text), in windows of the model's context length
RequestKind = Literal["generate", "loglikelihood", "rolling"]

#: How a score was obtained. Scores of different modes are never averaged or ranked together.
#: generate       free answer
#: loglikelihood  the choice (or continuation) with the highest log-likelihood
#: letter         multiple choice asked as "answer with the letter"
#: perplexity     rolling log-likelihood of a text
#: tools          the model called functions through the provider's tool interface
Mode = Literal["generate", "loglikelihood", "letter", "perplexity", "tools"]

Role = Literal["system", "user", "assistant", "tool"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: immutable, keyword-only, defaults left out of its JSON."""


class ToolCall(Record, frozen=True, kw_only=True):
    """A function call that a model asks for; `arguments` is the JSON text it wrote."""

    name: str
    arguments: str
    id: str = ""


class Tool(Record, frozen=True, kw_only=True):
    """A function that a model may call; `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Message(Record, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Sampling(Record, frozen=True, kw_only=True):
    """How an answer is drawn. `None` leaves a value to the provider.

    `max_tokens=None` lets a model use what its context leaves. Temperature 0 is greedy.
    """

    max_tokens: int | None = None
    temperature: float | None = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Request(Record, frozen=True, kw_only=True):
    """One question to a model.

    `prompt` is raw text, or chat messages; where the last message is the assistant's, the
    model continues it. `continuation` belongs to `loglikelihood` alone. For `rolling`,
    `prompt` is the text itself. `repeat` tells apart samples of one prompt drawn at a
    temperature above 0.
    """

    kind: RequestKind
    prompt: str | tuple[Message, ...]
    continuation: str = ""
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    repeat: int = 0


class Usage(Record, frozen=True, kw_only=True):
    """Tokens that one answer took; `cached_tokens` are the part of the input read from a cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class Response(Record, frozen=True, kw_only=True):
    """What came back for one request.

    `logprob` (nats) and `greedy` (whether the continuation is the greedy one) belong to
    log-likelihood requests. `served_model` is the name that the provider reports.
    """

    status: Status = "ok"
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprob: float | None = None
    greedy: bool | None = None
    finish_reason: str = ""
    served_model: str = ""
    usage: Usage = Usage()
    latency_s: float = 0.0
    attempts: int = 1
    error: str = ""


class Sample(Record, frozen=True, kw_only=True):
    """One question of a task: its row, its place, and what a right answer is.

    `cluster` names what samples share (a passage, a template, a source), for standard errors.
    """

    id: str
    index: int
    doc: dict[str, Any]
    target: Any = None
    cluster: str = ""


class Score(Record, frozen=True, kw_only=True):
    """How one sample was scored: a value a metric, and what the scorer read in the answer.

    A value is a number, or what the task's aggregation takes (a pair for perplexity).
    A sample whose status is `error` or `unscored` has no values.
    """

    status: Status = "ok"
    values: dict[str, Any] = {}
    extracted: Any = None
    note: str = ""


class Aggregate(Record, frozen=True, kw_only=True):
    """A metric over a task's samples, with what is needed to defend it.

    `n` is the number of samples in the mean, `method` says how `stderr` and the interval
    (`low`, `high`, at 95%) were computed. `stderr=None` means that none is claimed.
    """

    metric: str
    value: float
    n: int
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    higher_is_better: bool | None = True
    filter: str = ""


_encoder = msgspec.json.Encoder(order="deterministic")


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: keys sorted, a record's defaults left out."""
    return _encoder.encode(value)


def content_hash(*values: Any) -> str:
    """The SHA-256 (hex) of the canonical JSON of `values`."""
    return hashlib.sha256(canonical(values)).hexdigest()
