"""evalkit, lm-eval and Inspect: the command that each needs for a chat workload, and its result.

All three answer the same questions of `benchmarks.workloads` against the same server. Each runs
as a user would run it, with its own defaults, but for the number of requests in flight.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from benchmarks.workloads import TASK, Chat

#: What lm-eval and Inspect want for a key; the server takes any.
_KEY = "local"


@dataclass(frozen=True)
class Command:
    """What to start: the program and its arguments, variables to set, the folder to be in."""

    words: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def shown(self) -> str:
        """As one would type it in a shell."""
        variables = [f"{name}={value}" for name, value in self.environ.items() if value]
        words = [Path(self.words[0]).name, *self.words[1:]]
        return " ".join([*variables, *map(_quoted, words)])


def _quoted(word: str) -> str:
    return f'"{word}"' if set(word) & set("?&; ") else word


@dataclass(frozen=True)
class Result:
    """What a harness says at the end: how many samples it scored, and their mean."""

    samples: int
    score: float


class Peer(Protocol):
    """A harness that can run a chat workload."""

    name: str

    def command(self, chat: Chat, base_url: str, concurrency: int, output: Path) -> Command:
        """What to start; it writes into `output`, which does not exist yet."""

    def result(self, output: Path) -> Result:
        """What the run that wrote `output` found."""


class Evalkit:
    """`evalkit run`, with the `server/` adapter unless another is named.

    Args:
        model: The model's specification; `{origin}` is where the server is.
        environ: Variables that its adapter needs, e.g. a key.
        name: How the series is called.
    """

    def __init__(
        self,
        model: str = "server/auto?base_url={origin}/v1&api=chat",
        environ: Mapping[str, str] = MappingProxyType({}),
        name: str = "evalkit",
    ) -> None:
        self.model, self.environ, self.name = model, environ, name

    def command(self, chat: Chat, base_url: str, concurrency: int, output: Path) -> Command:
        model = self.model.format(origin=base_url.removesuffix("/v1"))
        words = [sys.executable, "-m", "evalkit", "run", "-m", model, "-t", TASK]
        words += ["--include-path", str(chat.folder), "--output", str(output)]
        words += ["--concurrency", str(concurrency)] if concurrency else []
        words += ["--limit", str(chat.limit)] if chat.limit else []
        return Command(tuple(words), self.environ)

    def result(self, output: Path) -> Result:
        return read_evalkit(json.loads((output / "scores.json").read_text(encoding="utf-8")))


class LmEval:
    """`lm_eval run` with its asynchronous chat client; it logs no samples, its default."""

    name = "lm-eval"

    def command(self, chat: Chat, base_url: str, concurrency: int, output: Path) -> Command:
        arguments = {
            "model": "local-model",
            "base_url": f"{base_url}/chat/completions",
            "num_concurrent": concurrency,
            "tokenized_requests": False,
        }
        packed = ",".join(f"{name}={value}" for name, value in arguments.items())
        words = [sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions"]
        words += ["--model_args", packed, "--tasks", TASK, "--include_path", str(chat.folder)]
        words += ["--apply_chat_template", "--output_path", str(output)]
        words += ["--limit", str(chat.limit)] if chat.limit else []
        return Command(tuple(words), {"OPENAI_API_KEY": _KEY})

    def result(self, output: Path) -> Result:
        (file,) = output.rglob("results_*.json")
        return read_lm_eval(json.loads(file.read_text(encoding="utf-8")))


class Inspect:
    """`inspect eval` with its client for servers that speak OpenAI's protocol.

    Args:
        program: The `inspect` command, in an environment of its own.
    """

    name = "Inspect"

    def __init__(self, program: Path) -> None:
        self.program = program

    def command(self, chat: Chat, base_url: str, concurrency: int, output: Path) -> Command:
        words = [str(self.program), "eval", chat.inspect_task.name]
        words += ["--model", "openai-api/local/local-model"]
        words += ["--max-connections", str(concurrency)]
        words += ["--log-dir", str(output), "--display", "none"]
        words += ["--limit", str(chat.limit)] if chat.limit else []
        variables = {"LOCAL_API_KEY": _KEY, "LOCAL_BASE_URL": base_url, "PYTHONPATH": ""}
        return Command(tuple(words), variables, chat.folder)

    def result(self, output: Path) -> Result:
        (file,) = output.glob("*.eval")
        dump = [str(self.program), "log", "dump", "--header-only", str(file)]
        clean = dict(os.environ) | {"PYTHONPATH": ""}
        done = subprocess.run(dump, check=True, capture_output=True, text=True, env=clean)
        return read_inspect(json.loads(done.stdout))


def read_evalkit(scores: Mapping[str, Any]) -> Result:
    """The result in evalkit's scores.json."""
    (entry,) = (score for score in scores["scores"] if score["task"] == TASK)
    return Result(entry["n"], entry["value"])


def read_lm_eval(results: Mapping[str, Any]) -> Result:
    """The result in lm-eval's results_*.json."""
    entry = results["results"][TASK]
    return Result(results["n-samples"][TASK]["effective"], entry["exact_match,code"])


def read_inspect(log: Mapping[str, Any]) -> Result:
    """The result in the header of Inspect's log."""
    if log["status"] != "success":
        return Result(0, 0.0)
    results = log["results"]
    return Result(
        results["completed_samples"], results["scores"][0]["metrics"]["accuracy"]["value"]
    )


def forget(output: Path) -> None:
    """Remove what a run wrote, so that the next one starts afresh."""
    shutil.rmtree(output, ignore_errors=True)
