"""The tables that `evalkit run` ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from evalkit.cli.output import print_table
from evalkit.runs import CellRow, Run, ScoreRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evalkit.engine.planner import JobPlan

_TROUBLES = ("failed", "unscored", "unparsed", "truncated", "refused", "filtered")


def run_summary(run: Run) -> dict[str, Any]:
    """What `evalkit run --json` prints."""
    return {
        "output": str(run.path),
        "state": run.state,
        "reason": run.manifest.get("reason", ""),
        "scores": run.results.scores,
        "cells": run.results.cells,
        "engine": run.manifest.get("engine", {}),
        "skipped": run.manifest.get("skipped", {}),
        "problems": run.manifest.get("problems", []),
    }


def print_run(run: Run) -> None:
    """Print scores, what they cost, and what to do next."""
    rows = run.results.scores
    if rows:
        columns = ["task", "model", "metric", "score>", "± s.e.>", "95% interval>", "n>"]
        columns += ["mode", "shots>", "counted problems"]
        print_table("Scores", columns, [_score_cells(row) for row in rows])
    if run.results.cells:
        columns = ["task", "model", "samples>", "failed>", "requests>", "tokens in>", "out>"]
        columns += ["cost>"]
        print_table("Work", columns, [_work_cells(cell) for cell in run.results.cells])
    console = Console(soft_wrap=True)
    for line in _closing_lines(run):
        console.print(line)


def _score_cells(row: ScoreRow) -> list[str]:
    metric = f"{row.metric} ({row.filter})" if row.filter else row.metric
    interval = "" if row.low is None else f"{_number(row.low)} to {_number(row.high)}"
    mode = f"{row.mode}, {row.style}"
    shots = "mixed" if row.num_fewshot is None else str(row.num_fewshot)
    name = f"[{row.task}]" if row.group else row.task
    score = _number(row.value) if row.valid else f"INVALID {_number(row.value)}"
    return [name, row.model, metric, score, _number(row.stderr), interval] + [
        str(row.n) if row.n == row.total else f"{row.n} of {row.total}",
        mode,
        shots,
        _troubles(row),
    ]


def _troubles(row: ScoreRow) -> str:
    counts = [(name, getattr(row, name)) for name in _TROUBLES]
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.5g}"


def _work_cells(cell: CellRow) -> list[str]:
    return [
        cell.task,
        cell.model,
        f"{cell.total:,}",
        f"{cell.statuses.get('error', 0):,}",
        f"{cell.requests:,}",
        f"{cell.usage.input_tokens:,}",
        f"{cell.usage.output_tokens:,}",
        "–" if cell.cost_usd is None else f"${cell.cost_usd:.4f}",
    ]


def _closing_lines(run: Run) -> list[Text]:
    lines = [Text(line) for line in _engine_lines(run.manifest.get("engine", {}))]
    for cell in run.results.cells:
        for note, count in cell.notes.items():
            lines.append(Text(f"{cell.model}, {cell.task}: {count} × {note}", style="red"))
    for task, reason in run.manifest.get("skipped", {}).items():
        lines.append(Text(f"{task} was skipped: {reason}", style="yellow"))
    for problem in run.manifest.get("problems", []):
        lines += _problem_lines(problem)
    if any(not row.valid for row in run.results.scores):
        lines.append(
            Text(
                "INVALID: more samples failed than the run allows (max_errors), or a group lacks "
                "a member; run the same command again to ask the failed ones once more.",
                style="bold red",
            )
        )
    if run.state in ("stopped", "interrupted"):
        reason = run.manifest.get("reason", "")
        lines.append(Text(f"Stopped: {reason}" if reason else "Stopped.", style="bold yellow"))
        lines.append(Text(f"Every answer so far is safe. Go on with: evalkit resume {run.path}"))
    lines.append(Text(f"Run folder: {run.path}"))
    return lines


def _problem_lines(problem: dict[str, Any]) -> list[Text]:
    place = f"{problem['model']}, {problem['task']}"
    told = [problem["failure"], *problem["samples"]]
    return [Text(f"{place}: {what}", style="red") for what in told if what]


def _engine_lines(engine: dict[str, Any]) -> list[str]:
    if not engine:
        return []
    seconds = engine.get("seconds", 0.0)
    sent = engine.get("requests_sent", 0)
    rate = f" ({sent / seconds:,.1f} a second)" if seconds > 0 else ""
    calls = engine.get("calls", sent)
    together = f" in {calls:,} calls" if calls < sent else ""
    held = engine.get("from_journal", 0)
    shared = engine.get("deduplicated", 0)
    first = (
        f"{sent:,} requests sent{together}{rate}, {held:,} answers from the journal, "
        f"{shared:,} asked once for several samples, {seconds:,.1f} s"
    )
    rates = [_rate(name, model) for name, model in engine.get("models", {}).items()]
    failures = {k: v for k, v in engine.get("failed_attempts", {}).items() if v}
    if not failures:
        return [first, *(rates if len(rates) > 1 else [])]
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items()))
    return [first, *(rates if len(rates) > 1 else [])] + [
        f"Failed attempts (asked again where that can help): {told}"
    ]


def _rate(name: str, model: dict[str, Any]) -> str:
    sent, seconds = model.get("sent", 0), model.get("seconds", 0.0)
    rate = f", {sent / seconds:,.1f} a second" if seconds > 0 else ""
    return f"  {name}: {sent:,} sent{rate}"


def print_plan(plans: Sequence[JobPlan]) -> None:
    """Print what a run would ask and cost."""
    columns = ["task", "model", "mode", "samples>", "requests>", "held>", "tokens in>"]
    columns += ["tokens out, at most>", "cost, at most>"]
    print_table("Plan (nothing was sent)", columns, [_plan_cells(plan) for plan in plans])
    costs = [plan.cost_usd for plan in plans if plan.cost_usd is not None]
    if costs:
        Console().print(Text(f"Cost at most: ${sum(costs):.4f}"))


def _plan_cells(plan: JobPlan) -> list[str]:
    return [
        plan.task,
        plan.model,
        plan.mode,
        f"{plan.samples:,}",
        f"{plan.requests:,}",
        f"{plan.journaled:,}",
        f"{plan.input_tokens:,}",
        f"{plan.output_tokens:,}",
        "–" if plan.cost_usd is None else f"${plan.cost_usd:.4f}",
    ]
