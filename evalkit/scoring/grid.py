"""Grids of small integers, as in ARC-AGI: right only if every cell is.

The Abstraction and Reasoning Corpus: F. Chollet, "On the Measure of Intelligence" (2019),
arXiv:1911.01547. Its rules allow several attempts: `attempts` of a task's answers are looked at,
and one right grid is enough.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evalkit.config.yaml import Definition
from evalkit.errors import InputError
from evalkit.records import Response, Sample, Score
from evalkit.scoring.scorer import Scorer, Verdict, final_text, joint_status, named

Grid = list[list[int]]

#: A row: integers apart by spaces, commas, tabs or bars; brackets around it are passed over.
_ROW = re.compile(r"[\[\s|]*\d{1,2}(?:[\s,|]+\d{1,2})*[\]\s,|]*")
_DIGITS = re.compile(r"\s*\d+\s*")
_NESTED = re.compile(r"\[\s*(?:\[[\d\s,]*\]\s*,?\s*)+\]")
_CELL = re.compile(r"\d+")


class GridParams(Definition, frozen=True, kw_only=True):
    """How many of a sample's answers count as attempts."""

    attempts: int = 1


def read_grid(text: str) -> Grid | None:
    """The last grid in `text`: nested lists, or lines of numbers that belong together.

    Lines of digits without spaces are rows too, if there is no other grid.
    """
    if nested := _NESTED.findall(text):
        rows = re.findall(r"\[[\d\s,]*\]", nested[-1][1:-1])
        return _grid([[int(cell) for cell in _CELL.findall(row)] for row in rows])
    lines = text.splitlines()
    spaced = _last_block(lines, _ROW)
    if spaced and any(len(_CELL.findall(line)) > 1 for line in spaced):
        return _grid([[int(cell) for cell in _CELL.findall(line)] for line in spaced])
    packed = _last_block(lines, _DIGITS)
    return _grid([[int(digit) for digit in line.strip()] for line in packed])


def _last_block(lines: Sequence[str], row: re.Pattern[str]) -> list[str]:
    """The last lines in a row that are rows of a grid."""
    block: list[str] = []
    for line in reversed(lines):
        if row.fullmatch(line):
            block.append(line)
        elif block:
            break
    return block[::-1]


def _grid(rows: Grid) -> Grid | None:
    """`rows` if they are of one length and there are any."""
    return rows if rows and rows[0] and len({len(row) for row in rows}) == 1 else None


def grid(sample: Sample, answers: Sequence[Response], params: GridParams) -> Score:
    """1 where one of the attempts is the target grid, cell for cell."""
    attempts = answers[: params.attempts]
    verdicts = [_judge(answer, sample.target) for answer in attempts]
    if not verdicts:
        return Score(status="unscored", note="there is no answer to score")
    best = max(verdicts, key=lambda verdict: verdict.values["exact_match"])
    return Score(
        status=joint_status(attempts, verdicts),
        values=dict(best.values),
        extracted=best.extracted,
        note=best.note,
    )


def _judge(answer: Response, target: Any) -> Verdict:
    found = read_grid(final_text(answer))
    if found is None:
        return Verdict(values={"exact_match": 0.0}, parsed=False, note="no grid found")
    size, wanted = f"{len(found)}x{len(found[0])}", f"{len(target)}x{len(target[0])}"
    note = "" if size == wanted else f"a grid of {size} where {wanted} is right"
    right = found == [list(row) for row in target]
    return Verdict(values={"exact_match": float(right)}, extracted=found, note=note)


def _check(params: GridParams, repeats: int) -> None:
    if not 1 <= params.attempts <= repeats:
        raise InputError(
            f"Scorer 'grid' looks at {params.attempts} attempts, but a sample has {repeats} "
            "answers: set repeats to as many"
        )


GRID = Scorer(
    name="grid",
    version="1",
    params=GridParams,
    score=grid,
    metrics=named("exact_match"),
    check=_check,
)
