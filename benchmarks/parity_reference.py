"""Runs lm-eval's command line on a case, and reads what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.parity_cases import Case
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


def run_lm_eval(case: Case, model: Path, mirror: Path, cache: Path) -> Reference:
    """lm-eval's results of a case; run once, then read from `cache`."""
    folder = cache / f"{case.label}-{content_hash(case, str(model))[:8]}"
    if not list(folder.glob("*/results_*.json")):
        _run(case, model, mirror, folder)
    return _read(folder)


def _run(case: Case, model: Path, mirror: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.parity_lm_eval", str(mirror), "--model", "hf"]
    command += ["--model_args", f"pretrained={model},dtype=float32,max_length={CONTEXT}"]
    command += ["--device", "cpu", "--batch_size", "1", "--include_path", str(DEFINITIONS)]
    command += ["--log_samples", "--output_path", str(folder), *case.flags]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"lm-eval failed on {case.label}:\n{done.stderr[-4000:]}")


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
