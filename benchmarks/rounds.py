"""Harnesses measured in turns, round by round, and what their rounds say together.

The machine's speed drifts, so harnesses alternate (A B C A B C ...), and the ratios of one round
are worth more than the seconds of any.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import Peer, Result, forget
from benchmarks.processes import spend
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import ANSWER, Chat, accuracy

#: The cores that the harness and the server are pinned to.
CLIENT_CORE, SERVER_CORE = 0, 1


class WrongRun(Exception):
    """A run that did not score every sample as it should have: its time means nothing."""


@dataclass(frozen=True)
class Load:
    """One row of the comparison.

    Args:
        latency_ms: How long the server takes for each answer.
        concurrency: Requests in flight at most.
    """

    latency_ms: float
    concurrency: int

    def ideal_s(self, samples: int) -> float:
        """Seconds that the answers take where the server is always full."""
        return samples * self.latency_ms / 1000 / self.concurrency


@dataclass(frozen=True)
class Run:
    """One run of one harness: seconds, memory, and what the server saw of it.

    Args:
        wall_s: From the start of the process to its end.
        cpu_s: User and system time of the process.
        peak_rss_mb: Its largest resident set, in millions of bytes.
        first_request_s: From the start to the arrival of the first request.
        requests_s: From there to the last answer.
        received: Requests for an answer that arrived.
        bytes_in: What all requests weighed.
        max_in_flight: The most requests at once, as the server saw them.
        mean_in_flight: Their average while requests ran.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    first_request_s: float
    requests_s: float
    received: int
    bytes_in: int
    max_in_flight: int
    mean_in_flight: float


def measure_rounds(
    peers: Sequence[Peer], chat: Chat, load: Load, rounds: int, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Run every peer once a round; the runs by the peer's name, in order.

    Raises:
        WrongRun: A run did not score every sample as it should have.
    """
    flags = ["--answer", ANSWER, "--no-count-bodies", "--latency-ms", str(load.latency_ms)]
    found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    with ServerProcess(flags, core=SERVER_CORE) as server:
        for _ in range(rounds):
            for peer in peers:
                found[peer.name].append(asdict(measure_run(peer, chat, load, server, folder)))
    return found


def measure_run(peer: Peer, chat: Chat, load: Load, server: ServerProcess, folder: Path) -> Run:
    """Run `peer` once.

    Raises:
        WrongRun: It did not score every sample as it should have.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        output = Path(scratch) / "run"
        command = peer.command(chat, server.base_url, load.concurrency, output)
        server.reset()
        spent = spend(
            command.words,
            log=Path(scratch) / "log.txt",
            environ={"HF_HOME": str(folder / "huggingface"), **command.environ},
            folder=command.folder,
            core=CLIENT_CORE,
        )
        stats = server.stats()
        check(peer.name, peer.result(output), stats, chat.asked)
        forget(output)
    return Run(
        wall_s=round(spent.wall_s, 3),
        cpu_s=round(spent.cpu_s, 3),
        peak_rss_mb=round(spent.peak_rss_mb, 1),
        first_request_s=round(stats["first_request"] - spent.started, 3),
        requests_s=round(stats["last_answer"] - stats["first_request"], 3),
        received=stats["received"],
        bytes_in=stats["bytes_in"],
        max_in_flight=stats["max_in_flight"],
        mean_in_flight=stats["mean_in_flight"],
    )


def check(name: str, result: Result, stats: Mapping[str, Any], samples: int) -> None:
    """Refuse a run that is not what it should be.

    Raises:
        WrongRun: Samples are missing, the score is another, or requests were not sent.
    """
    right = accuracy(samples)
    if result.samples != samples or abs(result.score - right) > 1e-9:
        raise WrongRun(
            f"{name} scored {result.samples} samples at {result.score}, not {samples} at {right}"
        )
    if stats["received"] < samples:
        raise WrongRun(f"{name} sent {stats['received']} requests for {samples} samples")


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The median of every number over a peer's rounds."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def fastest(runs: Sequence[Mapping[str, Any]]) -> float:
    """The shortest wall time."""
    return min(float(run["wall_s"]) for run in runs)


def ratio(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> float:
    """Our median wall time divided by theirs."""
    return medians(ours)["wall_s"] / medians(theirs)["wall_s"]


def round_ratios(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> list[float]:
    """Our wall time divided by theirs, round by round."""
    return [mine["wall_s"] / other["wall_s"] for mine, other in zip(ours, theirs, strict=False)]
