"""Tool use: whether the model called the right functions with the right arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.config.yaml import Definition
from evalkit.records import Response, Sample, Score
from evalkit.scoring.call_match import mismatch
from evalkit.scoring.call_syntax import Call, parse_calls, structured_calls
from evalkit.scoring.scorer import Scorer, Verdict, final_text, mean_score, named


class ToolCallParams(Definition, frozen=True, kw_only=True):
    """Where the documented functions stand in a row: a list of name, description, parameters."""

    functions: str = "function"


def tool_calls(sample: Sample, answers: Sequence[Response], params: ToolCallParams) -> Score:
    """1 where the calls are the expected ones, in any order.

    The target is the list of expected calls, each `{function: {argument: [accepted values]}}`;
    an empty one means that no function fits, and that none may be called.
    """
    functions: list[dict[str, Any]] = sample.doc[params.functions]
    expected: list[dict[str, Any]] = list(sample.target or ())
    return mean_score(answers, lambda answer: _judge(answer, functions, expected))


def _judge(
    answer: Response, functions: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> Verdict:
    calls = _calls(answer)
    if calls is None:
        right = not expected
        return Verdict(values={"accuracy": float(right)}, parsed=right, note="no call found")
    wrong = mismatch(functions, calls, expected, plain_names=bool(answer.tool_calls))
    return Verdict(
        values={"accuracy": float(wrong is None)},
        extracted=", ".join(map(_spelled, calls)),
        note=wrong or "",
    )


def _calls(answer: Response) -> list[Call] | None:
    if answer.tool_calls:
        return structured_calls(answer.tool_calls)
    return parse_calls(final_text(answer))


def _spelled(call: Call) -> str:
    """A call as Python text: arguments can hold what JSON cannot."""
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


TOOL_CALLS = Scorer(
    name="tool_calls",
    version="1",
    params=ToolCallParams,
    score=tool_calls,
    metrics=named("accuracy"),
)
