"""What scoring costs: `python -m benchmarks.scoring`; prints one JSON object.

`plain`: milliseconds a sample on one core, from the answers to the metrics: scored, counted,
written to a samples file, put in order, read again, aggregated. `heavy`: samples a second of a
scorer that computes, by where it runs, and the lateness of an event loop beside it. `aggregates`:
seconds for one statistic with its standard error, beside lm-eval's own bootstrap.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.scoring_tasks import PLAIN, answered, recipe, write_tasks
from evalkit.engine.jobs import score_sample
from evalkit.engine.score_pool import ScorePool
from evalkit.engine.workers import Workers
from evalkit.evaluation.tally import Tally
from evalkit.records import Response, Sample, Score
from evalkit.runs import SampleWriter, read_scores_of
from evalkit.tasks.protocol import Prompting, TaskInfo

SIZES = (1_000, 10_000, 100_000)
#: lm-eval's 100,000 rounds are timed over fewer, and multiplied.
ROUNDS, THEIR_ROUNDS = 5, 100_000


def plain(folder: Path, rows: int) -> dict[str, float]:
    """Milliseconds a sample, for every plain task."""
    write_tasks(folder, rows)
    return {
        f"{name} {mode or 'generate'}": _plain(folder, name, mode, rows) for name, mode in PLAIN
    }


def _plain(folder: Path, name: str, mode: Any, rows: int) -> float:
    task = recipe(folder, name, mode).load()
    samples = answered(task)
    writer = SampleWriter(folder / "out" / f"{name}.jsonl")
    tally = Tally("model", name, task.mode, lambda usage: None)
    started = time.process_time()
    for sample, requests, answers in samples:
        task.requests(sample, answers)  # as the engine asks whether the task asks on
        score = score_sample(task, sample, answers)
        writer.write(sample, requests, answers, score)
        tally.add(requests, answers, score)
    task.aggregate(read_scores_of(writer.finish()))
    return round((time.process_time() - started) * 1000 / rows, 4)


class Computing:
    """Scores by some 10 ms of sympy, as maths benchmarks do."""

    info = TaskInfo(name="computing", kind="declarative", main_thread=True)
    prompting, mode, fingerprint, scores_together = Prompting(), "generate", "computing", False

    def score(self, sample: Sample, answers: Sequence[Response]) -> Score:
        import sympy

        x = sympy.Symbol(f"x{sample.index}")
        one = sympy.expand((x + 1) ** 8 * (x - 2) ** 3)
        return Score(values={"equal": float(sympy.simplify(one - sympy.factor(one)) == 0)})


@dataclass(frozen=True)
class ComputingRecipe:
    """Loads `Computing` in another process."""

    def load(self) -> Computing:
        return Computing()


async def heavy(samples: int) -> dict[str, dict[str, float]]:
    """Samples a second, and the event loop's lateness, in a thread and in processes."""
    found = {}
    thread = Workers(1, "thread")
    task: Any = Computing()
    found["1 thread"] = await _heavy(
        samples, lambda sample: thread.run(score_sample, task, sample, ())
    )
    thread.close()
    for processes in (1, 2):
        pool = ScorePool(60, processes)
        ask = partial(_ask, pool, task)
        await asyncio.gather(*[ask(_sample(number)) for number in range(2 * processes)])
        found[f"{processes} processes"] = await _heavy(samples, ask)
        pool.close()
    return found


def _ask(pool: ScorePool, task: Any, sample: Sample) -> asyncio.Future[list[Score]]:
    return pool.score(task, ComputingRecipe(), sample, ())


async def _heavy(samples: int, ask: Callable[[Sample], Any]) -> dict[str, float]:
    late: list[float] = []
    beside = asyncio.create_task(_watch(late))
    started = time.perf_counter()
    await asyncio.gather(*[ask(_sample(number)) for number in range(samples)])
    seconds = time.perf_counter() - started
    beside.cancel()
    late.sort()
    return {
        "samples_per_second": round(samples / seconds, 1),
        "loop_late_median_ms": round(late[len(late) // 2] * 1000, 2),
        "loop_late_p99_ms": round(late[int(len(late) * 0.99)] * 1000, 2),
    }


async def _watch(late: list[float]) -> None:
    """A loop that is busy a fifth of the time, and notes how late it wakes."""
    while True:
        due = time.perf_counter() + 0.004
        await asyncio.sleep(0.004)
        late.append(time.perf_counter() - due)
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass


def _sample(number: int) -> Sample:
    return Sample(id=str(number), index=number, doc={})


def aggregates(most: int) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds for every statistic, and lm-eval's, by the number of samples."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in ("perplexity", "median", "nanmean", "f1_score", "matthews_corrcoef", "bleu"):
        found[name] = {str(n): _aggregate(name, n) for n in SIZES if n <= most}
    return found


def _aggregate(name: str, n: int) -> dict[str, float]:
    from lm_eval.api import metrics

    from evalkit.tasks.lm_eval.estimates import estimate

    function, items = getattr(metrics, name), _items(name, n)
    started = time.perf_counter()
    estimate(function, items)
    ours = time.perf_counter() - started
    rounds = 100 if name == "bleu" else THEIR_ROUNDS
    timed = min(ROUNDS, max(1, 20_000 // n))
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet, contextlib.redirect_stderr(io.StringIO()):
        started = time.perf_counter()
        for number in range(timed):
            function(random.Random(number).choices(items, k=n))
    theirs = (time.perf_counter() - started) / timed * rounds
    return {"seconds": round(ours, 4), "lm_eval_one_core_s": round(theirs, 1)}


def _items(name: str, n: int) -> list[Any]:
    draw = random.Random(3)
    if name in ("f1_score", "matthews_corrcoef"):
        return [(draw.randrange(2), draw.randrange(2)) for _ in range(n)]
    if name == "bleu":
        words = ["the", "cat", "sat", "on", "a", "mat", "and", "ran"]
        pair = lambda: [" ".join(draw.choices(words, k=20)) for _ in range(2)]  # noqa: E731
        return [pair() for _ in range(n)]
    return [-draw.random() * 4 for _ in range(n)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--heavy", type=int, default=200)
    parser.add_argument("--most", type=int, default=100_000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        cost = plain(Path(folder), arguments.rows)
    found = {
        "cores": os.cpu_count(),
        "plain_ms_per_sample": cost,
        "plain_samples_per_minute": {name: round(60_000 / ms) for name, ms in cost.items()},
        "heavy": asyncio.run(heavy(arguments.heavy)),
        "aggregates": aggregates(arguments.most),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    from benchmarks import scoring

    scoring.main()  # under its own name, by which other processes find its classes
