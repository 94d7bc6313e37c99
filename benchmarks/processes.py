"""One command as a child process: its wall time, processor time and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server_process import pin


@dataclass(frozen=True)
class Spent:
    """What a process took, the children that it waited for included.

    Args:
        started: When it was started, in seconds since 1970.
        wall_s: From its start to its end.
        cpu_s: User and system time.
        peak_rss_mb: Its largest resident set, in millions of bytes.
    """

    started: float
    wall_s: float
    cpu_s: float
    peak_rss_mb: float


class ProcessFailed(Exception):
    """The command ended with an error; the message has the end of what it printed."""


def spend(
    command: Sequence[str],
    *,
    log: Path,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    core: int | None = None,
) -> Spent:
    """Run `command` to its end.

    Args:
        command: The program and its arguments.
        log: Where its output goes.
        environ: Variables beyond those of this process.
        folder: Where it runs.
        core: The core to pin it to, and all that it starts.

    Raises:
        ProcessFailed: It ended with another status than 0.
    """
    with log.open("wb") as output:
        started, begun = time.time(), time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ) | dict(environ or {}),
            cwd=folder,
        )
        pin(process.pid, core)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise ProcessFailed(f"{' '.join(command)} ended with {process.returncode}:\n{end}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Spent(
        started, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale / 1_000_000
    )
