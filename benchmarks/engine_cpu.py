"""What one more request costs evalkit's process: `python -m benchmarks.engine_cpu`.

The CPU time of a run of 2N samples less that of one of N, divided by N: what start-up costs
cancels, and building, asking, journaling, scoring and recording remain. One JSON line an adapter
and a number in flight; the medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.peers import Evalkit
from benchmarks.rounds import SERVER_CORE, Load, measure_run
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import ANSWER, Chat, write_chat

#: evalkit's ways to the server.
ADAPTERS = {
    "server": Evalkit(),
    "openai": Evalkit("openai/local-model?base_url={origin}/v1", {"OPENAI_API_KEY": "local"}),
    "anthropic": Evalkit("anthropic/local-model?base_url={origin}", {"ANTHROPIC_API_KEY": "local"}),
}


def measure(
    adapter: str, samples: int, load: Load, rounds: int, folder: Path
) -> dict[str, float | int | str | list[float]]:
    """What each request beyond the first `samples` costs over one adapter."""
    chat = replace(write_chat(folder / "chat", 2 * samples), limit=samples)
    flags = ["--answer", ANSWER, "--no-count-bodies", "--latency-ms", str(load.latency_ms)]
    with ServerProcess(flags, core=SERVER_CORE) as server:
        measure_run(ADAPTERS[adapter], replace(chat, limit=20), load, server, folder)
        costs = [one_round(adapter, chat, load, server, folder) for _ in range(rounds)]
    return {
        "adapter": adapter,
        "latency_ms": load.latency_ms,
        "in_flight": load.concurrency,
        "samples": samples,
        "cpu_ms_per_request": round(statistics.median(costs), 4),
        "rounds_ms": [round(cost, 4) for cost in costs],
    }


def one_round(adapter: str, chat: Chat, load: Load, server: ServerProcess, folder: Path) -> float:
    """Milliseconds of CPU a request: a run of all of `chat` less one of its limit."""
    peer = ADAPTERS[adapter]
    few = measure_run(peer, chat, load, server, folder)
    many = measure_run(peer, replace(chat, limit=2 * chat.limit), load, server, folder)
    return 1000 * (many.cpu_s - few.cpu_s) / chat.limit


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", action="append", choices=ADAPTERS, default=None)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(words)
    for adapter in arguments.adapter or ADAPTERS:
        for load in (Load(0, 64), Load(200, 256)):
            with tempfile.TemporaryDirectory() as folder:
                found = measure(adapter, arguments.samples, load, arguments.rounds, Path(folder))
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
