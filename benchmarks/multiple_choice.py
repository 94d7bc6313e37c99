"""Multiple choice over `/v1/completions`, by evalkit and by lm-eval's `local-completions`.

    python -m benchmarks.multiple_choice --documents 2000 [--tokenizer FOLDER] [--only evalkit]

Both run the same task file over the same rows: N documents x 4 one-letter choices after five
worked examples, at a local server of its own, with the tokenizer of the embedded model. Client
and server are pinned to a core each. Prints one JSON object: for each program the requests
that the server received, seconds, CPU seconds and peak memory; what evalkit takes of what
lm-eval takes; and by how much their log-likelihoods differ at most.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: What both know the task by.
TASK = "letters"
_LETTERS = "ABCD"
_DEFINITION = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/test.jsonl
    validation: {folder}/validation.jsonl
test_split: test
fewshot_split: validation
fewshot_config: {{sampler: first_n}}
num_fewshot: 5
output_type: multiple_choice
description: "The following are multiple choice questions (with answers).\\n\\n"
doc_to_text: "{{{{question}}}}\\nA. {{{{choices[0]}}}}\\nB. {{{{choices[1]}}}}\\nC. \\
  {{{{choices[2]}}}}\\nD. {{{{choices[3]}}}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{{metric: acc}}]
metadata: {{version: 1}}
"""
_WORDS = [
    *("which", "of", "the", "following", "best", "describes", "a", "force", "energy", "cell"),
    *("market", "law", "treaty", "number", "angle", "river", "planet", "enzyme", "proof"),
    *("theorem", "contract", "supply", "demand", "wave", "mass", "charge", "nucleus", "gene"),
]


def write_task(folder: Path, documents: int, seed: int = 3) -> None:
    """Write the task and its rows into `folder`; MMLU-shaped, about 90 tokens a question."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in (("test", documents), ("validation", 5)):
        rows = [json.dumps(_row(draw)) for _ in range(number)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / f"{TASK}.yaml").write_text(_DEFINITION.format(name=TASK, folder=folder))


def _row(draw: random.Random) -> dict[str, Any]:
    def words(least: int, most: int) -> str:
        return " ".join(draw.choices(_WORDS, k=draw.randint(least, most)))

    return {
        "question": f"{words(20, 40).capitalize()} {draw.randint(1, 999)}?",
        "choices": [words(4, 10) for _ in _LETTERS],
        "answer": draw.randrange(len(_LETTERS)),
    }


class Served:
    """The local server as a program of its own, pinned to the last core; a context manager."""

    def __init__(self, tokenizer: str) -> None:
        command = ["benchmarks.local_server", "--no-count-bodies", "--tokenizer", tokenizer]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: _pin(last=True),
        )
        assert self._process.stdout is not None
        place = json.loads(self._process.stdout.readline())
        self.base_url: str = place["base_url"]
        self._origin: str = place["origin"]

    def received(self) -> int:
        with urllib.request.urlopen(f"{self._origin}/_stats") as answer:
            number: int = json.load(answer)["received"]
        return number

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()


def _pin(*, last: bool) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[-1] if last else cores[0]})


def run_client(command: Sequence[str], log: Path) -> dict[str, float]:
    """Run a program on the first core to its end, and say what it took."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            env=environment,
            preexec_fn=lambda: _pin(last=False),
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{command[2]} failed:\n{log.read_text()[-3000:]}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_rss_mb": round(usage.ru_maxrss * scale / 1e6),
    }


def evalkit_command(folder: Path, url: str, tokenizer: str, concurrency: int) -> list[str]:
    model = f"server/local-model?base_url={url}&tokenizer={tokenizer}"
    return [sys.executable, "-m", "evalkit", "run", "-m", model, "-t", TASK] + [
        *("--include-path", str(folder), "--concurrency", str(concurrency)),
        *("--no-chat-template", "--output", str(folder / "evalkit")),
    ]


def lm_eval_command(folder: Path, url: str, tokenizer: str, concurrency: int) -> list[str]:
    arguments = f"model=local-model,base_url={url}/completions,tokenizer={tokenizer}"
    arguments += f",num_concurrent={concurrency},max_length=4096,tokenized_requests=True"
    return [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"] + [
        *("--model_args", arguments, "--tasks", TASK, "--include_path", str(folder)),
        *("--log_samples", "--output_path", str(folder / "lm_eval")),
    ]


def evalkit_logprobs(folder: Path) -> dict[int, list[float]]:
    """The log-likelihoods that evalkit kept, by document."""
    [file] = (folder / "evalkit" / "samples").glob(f"*/{TASK}.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {
        row["sample"]["index"] if "sample" in row else row["index"]: [
            one["logprob"] for one in row["responses"]
        ]
        for row in rows
    }


def lm_eval_logprobs(folder: Path) -> dict[int, list[float]]:
    """The log-likelihoods that lm-eval logged, by document."""
    [file] = (folder / "lm_eval").glob(f"*/samples_{TASK}_*.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["doc_id"]: [float(one[0][0]) for one in row["resps"]] for row in rows}


def largest_difference(ours: dict[int, list[float]], theirs: dict[int, list[float]]) -> float:
    """The largest difference between two runs' log-likelihoods of the same documents."""
    if ours.keys() != theirs.keys():
        raise SystemExit(f"{len(ours)} documents against {len(theirs)}")
    pairs = (pair for number in ours for pair in zip(ours[number], theirs[number], strict=True))
    return max(abs(one - other) for one, other in pairs)


PROGRAMS = {"evalkit": evalkit_command, "lm_eval": lm_eval_command}


def measure(
    documents: int, tokenizer: str, folder: Path, *, only: str = "", concurrency: int = 64
) -> dict[str, Any]:
    """Run both programs (or one) over `documents` questions and compare them.

    Args:
        documents: How many.
        tokenizer: A transformers folder with a tokenizer, for both clients and the server.
        folder: An empty folder for rows, results and logs.
        only: `evalkit` or `lm_eval`; empty for both.
        concurrency: Requests in flight.
    """
    folder = folder.resolve()
    write_task(folder, documents)
    result: dict[str, Any] = {"documents": documents, "concurrency": concurrency}
    for name, command in PROGRAMS.items():
        if only in ("", name):
            with Served(tokenizer) as server:
                arguments = command(folder, server.base_url, tokenizer, concurrency)
                took = run_client(arguments, folder / f"{name}.log")
                result[name] = took | {"requests": server.received()}
    if not only:
        result["ratios"] = {
            what: round(result["evalkit"][what] / result["lm_eval"][what], 3)
            for what in ("requests", "seconds", "cpu_seconds", "peak_rss_mb")
        }
        apart = largest_difference(evalkit_logprobs(folder), lm_eval_logprobs(folder))
        result["largest_difference"] = apart
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--tokenizer", default="", help="a folder; the embedded model's")
    parser.add_argument("--only", default="", choices=["", *PROGRAMS])
    options = parser.parse_args()
    tokenizer = options.tokenizer
    if not tokenizer:
        from evalkit.models.embedded import embedded_transformers_folder

        tokenizer = str(embedded_transformers_folder())
    with tempfile.TemporaryDirectory() as folder:
        done = measure(
            options.documents,
            tokenizer,
            Path(folder),
            only=options.only,
            concurrency=options.concurrency,
        )
    print(json.dumps(done))


if __name__ == "__main__":
    main()
