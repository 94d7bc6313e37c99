"""Where the time of `evalkit run` goes: `python -m benchmarks.profile_run --latency-ms 200`.

Runs a chat workload under py-spy, which must be installed (`--py-spy` names it), and prints
seconds by thread, by stage (what is imported, else the innermost module of evalkit), by package
at work, and by function of evalkit. With `--gil` (the default) only what holds the interpreter's
lock counts, so that threads that wait do not; `--all` counts waiting as well.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import Evalkit
from benchmarks.profile_stacks import (
    Stack,
    by_function,
    by_leaf_package,
    by_stage,
    by_thread,
    nested_table,
    read_stacks,
    table,
)
from benchmarks.rounds import CLIENT_CORE, SERVER_CORE
from benchmarks.server_process import ServerProcess, pin
from benchmarks.workloads import ANSWER, write_chat

#: Samples a second.
RATE = 200


def record(
    py_spy: str, samples: int, latency_ms: float, concurrency: int, whole: bool, folder: Path
) -> list[Stack]:
    """The stacks of one run of evalkit."""
    chat, raw = write_chat(folder / "chat", samples), folder / "stacks.txt"
    flags = ["--answer", ANSWER, "--no-count-bodies", "--latency-ms", str(latency_ms)]
    spy = [py_spy, "record", "--rate", str(RATE), "--threads", "--format", "raw"]
    spy += [*([] if whole else ["--gil"]), "--output", str(raw), "--"]
    pin(0, CLIENT_CORE)
    with ServerProcess(flags, core=SERVER_CORE) as server:
        command = Evalkit().command(chat, server.base_url, concurrency, folder / "run")
        subprocess.run([*spy, *command.words], check=True, capture_output=True)
    return read_stacks(raw.read_text(encoding="utf-8").splitlines())


def report(stacks: Sequence[Stack], most: int) -> str:
    """All tables."""
    total = sum(stack.count for stack in stacks)
    parts = [
        table("by thread", by_thread(stacks), RATE, most),
        table("by stage", by_stage(stacks), RATE, most),
        table("by package at work", by_leaf_package(stacks), RATE, most),
        nested_table(
            "in functions of evalkit and what they call",
            *(by_function(stacks, "evalkit"), total, RATE, most),
        ),
    ]
    return "\n\n".join(parts)


def main(words: Sequence[str] | None = None) -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--py-spy", default=shutil.which("py-spy"))
    parser.add_argument("--all", action="store_true", dest="whole")
    parser.add_argument("--most", type=int, default=30, help="lines a table")
    arguments = parser.parse_args(words)
    if arguments.py_spy is None:
        parser.error("there is no py-spy: pip install py-spy, or name it with --py-spy")
    with tempfile.TemporaryDirectory() as folder:
        stacks = record(
            arguments.py_spy,
            arguments.samples,
            arguments.latency_ms,
            arguments.concurrency,
            arguments.whole,
            Path(folder),
        )
    print(report(stacks, arguments.most))


if __name__ == "__main__":
    main()
