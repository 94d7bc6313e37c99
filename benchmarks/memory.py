"""Peak memory of `evalkit run`: `python -m benchmarks.memory --samples 200000`.

Each run is a process of its own against the local server, and gives one JSON line: seconds, CPU
seconds and peak resident set size of the evalkit process alone.

- *short samples*: many of them, asked;
- *resumed*: the same run once more in the same folder, where every answer is in the journal and
  nothing may be sent;
- *long prompts*: ten of 128K tokens, all in flight at once, beside the same run with short ones:
  what they cost more, and that as a share of their own size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import Evalkit
from benchmarks.processes import Spent, spend
from benchmarks.rounds import CLIENT_CORE, SERVER_CORE, Load, measure_run
from benchmarks.server_process import ServerProcess
from benchmarks.sums import write_sums
from benchmarks.workloads import ANSWER, write_chat

#: Prompts of 128K tokens, at four characters a token.
LONG_PROMPTS, LONG_CHARACTERS = 10, 4 * 128 * 1024


def short_samples(samples: int, concurrency: int, folder: Path) -> list[dict[str, Any]]:
    """A run of `samples` short samples, and the same once more.

    Raises:
        ValueError: The second run sent requests.
    """
    write_sums(folder, samples)
    with ServerProcess(["--no-count-bodies"], core=SERVER_CORE) as server:
        command = _command(server.base_url, folder, concurrency)
        first = spend(command, log=folder / "log.txt", core=CLIENT_CORE)
        server.reset()
        again = spend(command, log=folder / "log.txt", core=CLIENT_CORE)
        if sent := server.stats()["received"]:
            raise ValueError(f"{sent} requests were sent again")
    return [
        {"work": "short samples", **_numbers(samples, first)},
        {"work": "resumed", **_numbers(samples, again)},
    ]


def _command(url: str, folder: Path, concurrency: int) -> list[str]:
    model = f"server/auto?base_url={url}&api=chat"
    return [sys.executable, "-m", "evalkit", "run", "-m", model, "-t", "sums"] + [
        *("--include-path", str(folder), "--concurrency", str(concurrency)),
        *("--output", str(folder / "run")),
    ]


def _numbers(samples: int, spent: Spent) -> dict[str, Any]:
    return {
        "samples": samples,
        "seconds": round(spent.wall_s, 1),
        "samples_per_second": round(samples / spent.wall_s, 1),
        "cpu_seconds": round(spent.cpu_s, 1),
        "peak_rss_mb": round(spent.peak_rss_mb, 1),
    }


def long_prompts(folder: Path) -> dict[str, Any]:
    """What ten prompts of 128K tokens in flight cost more than ten short ones."""
    load = Load(500, LONG_PROMPTS)
    flags = ["--answer", ANSWER, "--latency-ms", str(load.latency_ms), "--no-count-bodies"]
    peaks = []
    with ServerProcess(flags, core=SERVER_CORE) as server:
        for padding in (0, LONG_CHARACTERS):
            chat = write_chat(folder / f"chat-{padding}", LONG_PROMPTS, padding=padding)
            measure_run(Evalkit(), chat, load, server, folder)  # fills the cache of data sets
            peaks.append(measure_run(Evalkit(), chat, load, server, folder).peak_rss_mb)
    prompts_mb = LONG_PROMPTS * LONG_CHARACTERS / 1e6
    return {
        "work": "long prompts",
        "prompts": LONG_PROMPTS,
        "prompts_mb": round(prompts_mb, 2),
        "peak_rss_mb_with_short_ones": peaks[0],
        "peak_rss_mb_with_them": peaks[1],
        "more_mb": round(peaks[1] - peaks[0], 1),
        "more_as_a_share_of_prompts": round((peaks[1] - peaks[0]) / prompts_mb, 2),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--concurrency", type=int, default=64)
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        for line in short_samples(arguments.samples, arguments.concurrency, Path(folder)):
            print(json.dumps(line), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(long_prompts(Path(folder))), flush=True)


if __name__ == "__main__":
    main()
