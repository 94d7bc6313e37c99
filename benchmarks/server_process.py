"""The local server as a process of its own, pinned to a core: what measurements talk to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class ServerProcess:
    """A context manager around `python -m benchmarks.local_server`.

    Args:
        flags: Its command-line arguments; the port is its own choice.
        core: The core to pin it to, where the system can; None leaves it free.
    """

    def __init__(self, flags: Sequence[str], core: int | None = None) -> None:
        self._command = [sys.executable, "-m", "benchmarks.local_server", "--port", "0", *flags]
        self._core = core
        self._process: subprocess.Popen[str] | None = None
        self.origin = ""

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK takes as its base URL."""
        return f"{self.origin}/v1"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return urlsplit(self.origin).port or 0

    def __enter__(self) -> ServerProcess:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.origin = json.loads(self._process.stdout.readline())["origin"]
        pin(self._process.pid, self._core)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stats(self) -> dict[str, Any]:
        """Its counters since it started, or since they were last reset."""
        return self._get("/_stats")

    def reset(self) -> None:
        """Set its counters to zero."""
        self._get("/_stats?reset=1")

    def cpu_seconds(self) -> float:
        """Processor time that it has taken so far (Linux)."""
        assert self._process is not None
        text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.origin + path, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def pin(pid: int, core: int | None) -> None:
    """Let process `pid` (0: this one) run on `core` alone, where there is such a core."""
    if core is not None and hasattr(os, "sched_setaffinity") and core < (os.cpu_count() or 1):
        os.sched_setaffinity(pid, {core})
