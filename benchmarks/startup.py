"""What a user waits for before anything is asked: `python -m benchmarks.startup --rounds 5`.

Medians of seconds and CPU seconds of `evalkit --help`, of `evalkit tasks list`, and of a run from
the start of its process to the arrival of its first request at the local server; lm-eval's own
commands in between. With --mirror (or EVALKIT_MIRROR) also of real tasks, whose rows lm-eval is
given out of the same mirror. One JSON object a line.

The processes are new each time, the disk is warm: a first round that is not counted fills the
caches of both. What a server is asked before a task's first prompt (what it can do) is not
counted as a request.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_connection import Connection, HttpRequest
from benchmarks.local_server import LocalServer
from benchmarks.server_settings import Settings
from benchmarks.serving import Serving

PATIENCE_S = 120
ROWS = 5_000

_TASK = """
task: startup_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 16}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""

_LM_EVAL_ON_MIRROR = """
import sys
from evalkit.data.options import DataOptions
from evalkit.data.redirect import redirected
from lm_eval.__main__ import cli_evaluate
mirror, sys.argv[1:] = sys.argv[1], sys.argv[2:]
with redirected(DataOptions(mirror=mirror, offline=True)):
    cli_evaluate()
"""


@dataclass(frozen=True)
class Work:
    """A run to its first request; `mark` is in each of its prompts and in no other request."""

    name: str
    task: str
    mark: str
    flags: tuple[str, ...] = ()
    api: str = "chat"


@dataclass(frozen=True)
class Took:
    """Seconds of one process: on the clock, and on processors."""

    wall_s: float
    cpu_s: float


@dataclass
class Series:
    """What the counted rounds of one command took."""

    took: list[Took] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        walls, cpus = [t.wall_s for t in self.took], [t.cpu_s for t in self.took]
        return {
            "median_s": round(statistics.median(walls), 3),
            "median_cpu_s": round(statistics.median(cpus), 3),
            "all_s": [round(wall, 3) for wall in walls],
        }


class FirstRequest(Serving):
    """A server that notes when the first request with `mark` arrives."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.mark, self.arrived = b"", threading.Event()

    def receive(self, request: HttpRequest, connection: Connection) -> None:
        if request.method == "POST" and self.mark in request.body:
            self.arrived.set()
        super().receive(request, connection)

    def expect(self, mark: str) -> None:
        self.mark = mark.encode()
        self.arrived.clear()


def to_the_end(command: Sequence[str]) -> Took:
    """How long `command` takes."""
    started = time.monotonic()
    pid = os.posix_spawn(command[0], list(command), dict(os.environ), file_actions=_quiet())
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Took(time.monotonic() - started, usage.ru_utime + usage.ru_stime)


def _quiet() -> list[tuple[int, int, str, int, int]]:
    return [
        (os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0)
        for stream in (sys.stdout.fileno(), sys.stderr.fileno())
    ]


def to_first_request(command: Sequence[str], serving: FirstRequest, mark: str) -> Took:
    """How long it takes from the start of `command` to its first request; then it is killed."""
    serving.expect(mark)
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        process = subprocess.Popen(list(command), stdout=said, stderr=said)
        try:
            arrived = serving.arrived.wait(PATIENCE_S)
            wall_s, cpu_s = time.monotonic() - started, _cpu_seconds(process.pid)
        finally:
            process.kill()
            process.wait()
        if not arrived:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} sent nothing:\n{said.read().decode()[-2000:]}")
    return Took(wall_s, cpu_s)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def works(mirror: str) -> list[Work]:
    """The runs that are measured."""
    mine = Work("5,000 rows of JSON Lines", "startup_sums", "Question: What is")
    if not mirror:
        return [mine]
    return [
        mine,
        Work("gsm8k", "gsm8k", "Question: "),
        Work("mmlu, 5-shot", "mmlu", "The following are", ("--num-fewshot", "5")),
        Work("arc_challenge", "arc_challenge", "Question: ", api="completions"),
        Work("truthfulqa_mc2", "truthfulqa_mc2", "Q: ", api="completions"),
        Work("bbh", "bbh", "Q: "),
        Work("mmlu_pro", "mmlu_pro", "The following are"),
    ]


def evalkit_run(work: Work, url: str, folder: Path, mirror: str) -> list[str]:
    """The command of one run with evalkit."""
    model = f"server/local-model?base_url={url}&api={work.api}"
    data = ["--mirror", mirror, "--offline"] if mirror and work.task != "startup_sums" else []
    return [sys.executable, "-m", "evalkit", "run", "-m", model, "-t", work.task] + [
        *("--include-path", str(folder), "--output", str(folder / f"run-{time.monotonic_ns()}")),
        *data,
        *work.flags,
    ]


def lm_eval_run(work: Work, url: str, folder: Path, mirror: str) -> list[str]:
    """The command of the same run with lm-eval."""
    chat = work.api == "chat"
    place = "chat/completions" if chat else "completions"
    settings = f"model=local-model,base_url={url}/{place},num_concurrent=64,tokenizer_backend=None"
    backend = ["--model", "local-chat-completions" if chat else "local-completions"]
    program = ["-c", _LM_EVAL_ON_MIRROR, mirror] if mirror else ["-m", "lm_eval"]
    return [sys.executable, *program, "run", *backend, "--model_args", settings] + [
        *("--tasks", work.task, "--include_path", str(folder)),
        *(flag.replace("--num-fewshot", "--num_fewshot") for flag in work.flags),
        *(["--apply_chat_template", "--fewshot_as_multiturn", "true"] if chat else []),
    ]


def write_task(folder: Path) -> None:
    """A task of lm-eval with many short rows."""
    rows = ({"question": f"What is {n} + {n * 7}?", "answer": str(n * 8)} for n in range(ROWS))
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "startup_sums.yaml").write_text(_TASK.format(rows=data))


def measure(rounds: int, mirror: str, peers: bool, only: str = "") -> list[dict[str, object]]:
    """All commands, one after the other in each round; the first round is not counted.

    Args:
        rounds: How many are counted.
        mirror: Where real rows are; empty measures none.
        peers: Whether lm-eval's commands are run too.
        only: Runs whose name has this in it.
    """
    settings = Settings(count_bodies=False)
    with tempfile.TemporaryDirectory() as name, LocalServer(settings) as server:
        folder, serving = Path(name), FirstRequest(settings)
        serving.loop = server._serving.loop
        server._serving.receive = serving.receive  # type: ignore[method-assign]
        write_task(folder)
        series: dict[tuple[str, str], Series] = {}
        for number in range(rounds + 1):
            for key, go in _commands(serving, server.base_url, folder, mirror, peers):
                if only not in key[0]:
                    continue
                took = go()
                if number:
                    series.setdefault(key, Series()).took.append(took)
    return [{"work": w, "harness": h, **s.summary()} for (w, h), s in series.items()]


def _commands(
    serving: FirstRequest, url: str, folder: Path, mirror: str, peers: bool
) -> list[tuple[tuple[str, str], Callable[[], Took]]]:
    def ends(command: list[str]) -> Callable[[], Took]:
        return lambda: to_the_end([sys.executable, *command])

    def starts(command: list[str], mark: str) -> Callable[[], Took]:
        return lambda: to_first_request(command, serving, mark)

    listed: list[tuple[tuple[str, str], Callable[[], Took]]] = [
        (("--help", "evalkit"), ends(["-m", "evalkit", "--help"])),
        (("names of all tasks", "evalkit"), ends(["-m", "evalkit", "tasks", "list"])),
    ]
    if peers:
        listed += [
            (("--help", "lm-eval"), ends(["-m", "lm_eval", "--help"])),
            (("names of all tasks", "lm-eval"), ends(["-m", "lm_eval", "ls", "tasks"])),
        ]
    for work in works(mirror):
        key = f"first request: {work.name}"
        listed.append(((key, "evalkit"), starts(evalkit_run(work, url, folder, mirror), work.mark)))
        # of real tasks lm-eval builds every prompt before it asks: minutes, for MMLU whole
        if peers and work.task == "startup_sums":
            listed.append(
                ((key, "lm-eval"), starts(lm_eval_run(work, url, folder, mirror), work.mark))
            )
    return listed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mirror", default=os.environ.get("EVALKIT_MIRROR", ""))
    parser.add_argument("--only", default="", help="what has this in its name")
    parser.add_argument("--no-peers", action="store_true", help="evalkit alone")
    arguments = parser.parse_args()
    peers = not arguments.no_peers
    for line in measure(arguments.rounds, arguments.mirror, peers, arguments.only):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
