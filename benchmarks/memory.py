"""Peak memory of `evalkit run` over many samples: `python -m benchmarks.memory --samples 200000`.

Starts the local server in a process of its own, runs the command as another, and prints one JSON
line: samples, seconds, samples a second, CPU seconds and peak resident set size of the evalkit
process alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sums import write_sums


def measure(samples: int, concurrency: int, folder: Path) -> dict[str, float | int]:
    """Run `samples` samples and say what the evalkit process took."""
    write_sums(folder, samples)
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.local_server", "--port", "0", "--no-count-bodies"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["base_url"]
        started = time.monotonic()
        pid = os.posix_spawn(sys.executable, _command(url, folder, concurrency), dict(os.environ))
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - started
    finally:
        server.kill()
        server.wait()
    if status:
        raise SystemExit(f"evalkit ended with {os.waitstatus_to_exitcode(status)}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "samples": samples,
        "seconds": round(seconds, 1),
        "samples_per_second": round(samples / seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss * scale / 1e6, 1),
    }


def _command(url: str, folder: Path, concurrency: int) -> list[str]:
    model = f"server/auto?base_url={url}&api=chat"
    return [sys.executable, "-m", "evalkit", "run", "-m", model, "-t", "sums"] + [
        *("--include-path", str(folder), "--concurrency", str(concurrency)),
        *("--output", str(folder / "run")),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--concurrency", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments.samples, arguments.concurrency, Path(folder))))


if __name__ == "__main__":
    main()
