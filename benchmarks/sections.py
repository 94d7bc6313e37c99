"""The sections of docs/performance.md: what each measures, how, and what it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.criteria import Criterion, Limit, chat_criteria, program_criteria
from benchmarks.rounds import Load


@dataclass(frozen=True)
class ChatSection:
    """Chat samples over HTTP, every harness in turns; see `chat_criteria`."""

    title: str
    load: Load
    against_inspect: bool = True

    def criteria(self, data: Any) -> list[Criterion]:
        """What the measured rounds are held to."""
        return chat_criteria(data, self.against_inspect)


@dataclass(frozen=True)
class ProgramSection:
    """A measuring program of `benchmarks/` that prints JSON, one object a line.

    Args:
        title: The heading.
        module: The program's name in `benchmarks/`.
        flags: Its arguments.
        limits: What its numbers are held to.
    """

    title: str
    module: str
    flags: Sequence[str] = ()
    limits: Sequence[Limit] = field(default_factory=tuple)

    def criteria(self, data: Any) -> list[Criterion]:
        """What the printed numbers are held to."""
        return program_criteria(data["lines"], self.limits)


Section = ChatSection | ProgramSection

_FIRST = "median_s"

SECTIONS: dict[str, Section] = {
    "chat_0ms": ChatSection("Chat, a server without latency, 64 in flight", Load(0, 64)),
    "chat_200ms_64": ChatSection(
        "Chat, a 200 ms server, 64 in flight", Load(200, 64), against_inspect=False
    ),
    "chat_200ms_256": ChatSection("Chat, a 200 ms server, 256 in flight", Load(200, 256)),
    "engine_cpu": ProgramSection(
        "Client CPU a request",
        "engine_cpu",
        limits=[
            Limit(
                *("cpu_ms_per_request", 0.5, "CPU a request over `server/`", "ms"),
                where={"adapter": "server"},
            )
        ],
    ),
    "knee": ProgramSection("Adaptive concurrency", "knee"),
    "startup": ProgramSection(
        "Start to first request",
        "startup",
        flags=("--rounds", "2"),
        limits=[
            Limit(
                *(_FIRST, 0.3, "`evalkit --help`", "s"),
                where={"work": "--help", "harness": "evalkit"},
            ),
            Limit(
                *(_FIRST, 0.5, "`evalkit tasks list`", "s"),
                where={"work": "names of all tasks", "harness": "evalkit"},
            ),
            Limit(
                *(_FIRST, 2.0, "first request of a task of 5,000 rows", "s"),
                where={"work": "first request: 5,000 rows of JSON Lines", "harness": "evalkit"},
            ),
            Limit(
                *(_FIRST, 3.0, "first request of MMLU whole", "s"),
                where={"work": "first request: mmlu, 5-shot", "harness": "evalkit"},
            ),
        ],
    ),
    "building": ProgramSection(
        "Building prompts",
        "building",
        flags=("--rounds", "1", "--only", "mmlu, 5-shot, chat"),
        limits=[
            Limit(
                *("documents_per_cpu_second", 5_000, "MMLU whole, documents a second of CPU"),
                where={"work": "mmlu, 5-shot, chat", "harness": "evalkit"},
                at_least=True,
            )
        ],
    ),
    "scoring": ProgramSection("Scoring", "scoring", flags=("--most", "10000")),
    "multiple_choice": ProgramSection(
        "Multiple choice over HTTP",
        "multiple_choice",
        limits=[
            Limit("ratios.requests", 0.2525, "requests as a share of lm-eval's"),
            Limit("ratios.seconds", 0.25, "wall time as a share of lm-eval's"),
        ],
    ),
    "hf_scoring": ProgramSection(
        "Log-likelihoods in process (`hf/`)",
        "hf_scoring",
        flags=("--lm-eval-every", "4"),
        limits=[
            Limit("times_faster", 5, "times as fast as lm-eval's `hf`", at_least=True),
            Limit("evalkit.of_bound", 1.3, "time as a multiple of the bound"),
            Limit("lm_eval.largest_difference", 1e-3, "largest difference of a log-likelihood"),
        ],
    ),
    "hf_generation": ProgramSection(
        "Generation in process (`hf/`)",
        "hf_scoring",
        flags=("--generate", "--documents", "8"),
        limits=[Limit("times_faster", 1, "times as fast as lm-eval's `hf`", at_least=True)],
    ),
    "llamacpp": ProgramSection(
        "The embedded model (`llamacpp/`)", "llamacpp_cache", flags=("--documents", "6")
    ),
    "journal": ProgramSection(
        "The journal",
        "journal",
        limits=[
            Limit(
                *("responses_per_second", 10_000, "responses written a second"),
                at_least=True,
            ),
            Limit("open_s", 3.0, "opening 1,000,000 responses for resume", "s"),
        ],
    ),
    "memory": ProgramSection(
        "Memory over 1,000,000 short samples",
        "memory",
        flags=("--samples", "1000000"),
        limits=[
            Limit("peak_rss_mb", 700, "peak resident memory", "MB"),
            Limit("more_as_a_share_of_prompts", 2, "ten 128K-token prompts, by their own size"),
        ],
    ),
}
