"""Inspect in an environment of its own: its requirements are not evalkit's.

It is made on first use in a cache folder (`EVALKIT_BENCH_CACHE`, else `~/.cache/evalkit-bench`).
`EVALKIT_BENCH_INSPECT` names an `inspect` command that is there already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ("inspect-ai", "openai")


class NotMeasured(Exception):
    """Something that a measurement needs is not there; the message says what."""


def cache_folder() -> Path:
    """Where measurements keep what they need again."""
    default = Path.home() / ".cache" / "evalkit-bench"
    return Path(os.environ.get("EVALKIT_BENCH_CACHE") or default)


def inspect_program() -> Path:
    """The `inspect` command, installed if need be.

    Raises:
        NotMeasured: It cannot be installed.
    """
    if named := os.environ.get("EVALKIT_BENCH_INSPECT"):
        return Path(named)
    folder = cache_folder() / "inspect"
    program = folder / "bin" / "inspect"
    if not program.exists():
        _install(folder)
    return program


def _install(folder: Path) -> None:
    python = folder / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasured(f"Inspect could not be installed: {done.stderr.strip()[-300:]}")


def version_of(program: Path) -> str:
    """What `inspect --version` says."""
    clean = dict(os.environ) | {"PYTHONPATH": ""}
    done = subprocess.run(
        [str(program), "--version"], capture_output=True, text=True, check=True, env=clean
    )
    return done.stdout.strip()
