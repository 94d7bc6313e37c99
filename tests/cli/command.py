"""The real `evalkit` command, as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.sums import write_sums as sums

#: A run in the test suite that takes longer than this hangs.
LIMIT_S = 120

_HIDDEN = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "EVALKIT_MIRROR", "EVALKIT_OFFLINE")


def arguments(*args):
    return [sys.executable, "-m", "evalkit", *map(str, args)]


def environment(**extra):
    kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    return kept | {"COLUMNS": "200"} | extra


def evalkit(*args, cwd=None, **env):
    """Run the command to its end."""
    return subprocess.run(
        arguments(*args),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=cwd,
        env=environment(**env),
        check=False,
    )


def start(*args, cwd=None, **env):
    """Start the command and go on."""
    return subprocess.Popen(
        arguments(*args),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=cwd,
        env=environment(**env),
    )


def scores(folder):
    """What a run's scores are, without what it took to get them."""
    rows = json.loads((Path(folder) / "scores.json").read_text())["scores"]
    return sorted(rows, key=lambda row: (row["model"], row["task"], row["metric"], row["filter"]))


__all__ = ["arguments", "environment", "evalkit", "scores", "start", "sums"]
