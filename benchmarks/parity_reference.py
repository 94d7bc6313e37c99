"""Runs lm-eval's command line on a case, and reads what it wrote."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity_cases import Case
from benchmarks.parity_lm_eval import DONE, FAILED
from evalkit.records import Record, content_hash

ROOT = Path(__file__).resolve().parents[1]
DEFINITIONS = ROOT / "benchmarks" / "parity_tasks"


class Row(Record, frozen=True, kw_only=True):
    """A sample in lm-eval's log: arguments, responses and metrics (keyed as ours are)."""

    arguments: list[list[Any]]
    responses: list[list[Any]]
    values: dict[str, Any]


class Reference(Record, frozen=True, kw_only=True):
    """What lm-eval's run of a case wrote; `results` as in its file."""

    results: dict[str, dict[str, Any]]
    rows: dict[str, dict[int, Row]]


class LmEval:
    """lm-eval's command line at work in another process, case after case.

    Args:
        cases: What is to be run; what `cache` holds already is not run again.
        model: The model's folder.
        mirror: Where rows come from.
        cache: Where results are kept.
    """

    def __init__(self, cases: Sequence[Case], model: Path, mirror: Path, cache: Path) -> None:
        self._model, self._cache = model, cache
        plan = [
            [str(self._folder(case)), [*self._common(), *case.flags]]
            for case in cases
            if not self._done(case)
        ]
        cache.mkdir(parents=True, exist_ok=True)
        file, self._log = cache / "plan.json", cache / "lm_eval.log"
        file.write_text(json.dumps(plan), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.parity_lm_eval", str(mirror), str(file)]
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    async def results(self, case: Case) -> Reference:
        """What it wrote for a case, as soon as it has."""
        failed = self._folder(case) / FAILED
        while not self._done(case):
            if failed.exists():
                raise RuntimeError(f"lm-eval failed on {case.label}:\n{failed.read_text()}")
            if self._process.poll() is not None and not self._done(case):
                raise RuntimeError(f"lm-eval ended before {case.label}: see {self._log}")
            await asyncio.sleep(1)
        return _read(self._folder(case))

    def stop(self) -> None:
        self._process.terminate()

    def _folder(self, case: Case) -> Path:
        return self._cache / f"{case.label}-{content_hash(case, str(self._model))[:8]}"

    def _done(self, case: Case) -> bool:
        return (self._folder(case) / DONE).exists()

    def _common(self) -> list[str]:
        arguments = f"pretrained={self._model},dtype=float32,max_length={CONTEXT}"
        flags = ["--model", "hf", "--model_args", arguments, "--device", "cpu"]
        flags += ["--include_path", str(DEFINITIONS), "--log_samples"]
        return flags


#: The context length that both are given, so that the rolling task needs several windows.
CONTEXT = 2048


def _read(folder: Path) -> Reference:
    [results] = sorted(folder.glob("*/results_*.json"))[-1:]
    rows: dict[str, dict[int, Row]] = {}
    for file in folder.glob("*/samples_*.jsonl"):
        name = file.name.removeprefix("samples_").rsplit("_", 1)[0]
        with file.open(encoding="utf-8") as lines:
            rows[name] = _rows(json.loads(line) for line in lines)
    read = json.loads(results.read_text(encoding="utf-8"))
    return Reference(results=read["results"], rows=rows)


def _rows(lines: Any) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for line in lines:
        suffix = "" if line["filter"] == "none" else f",{line['filter']}"
        values = {f"{metric}{suffix}": line[metric] for metric in line["metrics"]}
        known = rows.get(line["doc_id"])
        rows[line["doc_id"]] = Row(
            arguments=[list(given.values()) for given in line["arguments"].values()],
            responses=line["resps"],
            values=values if known is None else known.values | values,
        )
    return rows
