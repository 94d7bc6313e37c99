"""lm-eval's code tasks with their programs run in evalkit's sandbox.

lm-eval runs programs through the metric `code_eval` of the `evaluate` package: code fetched
from the Hugging Face hub that executes in a child of this process, with its files and network.
While these tasks are built, `evaluate.load("code_eval")` gives the one here instead: the same
program (the candidate, a line break, the test), three seconds, the same unbiased pass@k.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.errors import SandboxError
from evalkit.scoring.code import pass_at_k
from evalkit.scoring.sandbox import Limits, available, run_program

#: Folders of lm-eval whose code tasks execute nothing but through `code_eval`.
_FOLDERS = frozenset({"humaneval", "humaneval_infilling", "mbpp"})
_TIMEOUT_S = 3.0


class SandboxedCodeEval:
    """What `evaluate.load("code_eval")` gives, with a sandbox."""

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        timeout: float = _TIMEOUT_S,
        **_: Any,
    ) -> tuple[dict[str, float], dict[int, list[bool]]]:
        """pass@k over problems, and which of each problem's candidates passed."""
        passed = {
            number: [_passes(f"{candidate}\n{test}", timeout) for candidate in candidates]
            for number, (candidates, test) in enumerate(zip(predictions, references, strict=True))
        }
        return {f"pass@{n}": _mean_pass(passed, n) for n in k if _enough(passed, n)}, passed


def _passes(program: str, timeout: float) -> bool:
    return run_program(program, Limits(wall_s=timeout)).finished


def _enough(passed: Mapping[int, Sequence[bool]], k: int) -> bool:
    return all(len(each) >= k for each in passed.values())


def _mean_pass(passed: Mapping[int, Sequence[bool]], k: int) -> float:
    return sum(pass_at_k(len(each), sum(each), k) for each in passed.values()) / len(passed)


def runs_in_sandbox(path: Path) -> bool:
    """Whether the code task that `path` defines can be run with its programs in the sandbox."""
    return path.parent.name in _FOLDERS and path.parent.parent.name == "tasks"


@contextmanager
def sandboxed_code_eval(path: Path) -> Iterator[None]:
    """Within it the modules of the task at `path` get the sandboxed metric when they are imported.

    Raises:
        SandboxError: There is no sandbox, or the modules had been imported before with the
            metric that has none.
    """
    if reason := available():
        raise SandboxError(f"No sandbox for the programs of {path.stem!r}: {reason}")
    evaluate: Any = importlib.import_module("evaluate")
    original = evaluate.load
    evaluate.load = lambda name, *rest, **named: (
        SandboxedCodeEval() if name == "code_eval" else original(name, *rest, **named)
    )
    try:
        yield
    finally:
        evaluate.load = original
    module = sys.modules.get(f"lm_eval.tasks.{path.parent.name}.utils")
    names = vars(module).values() if module else ()
    if not any(isinstance(value, SandboxedCodeEval) for value in names):
        raise SandboxError(f"lm-eval's code for {path.stem!r} was imported without the sandbox")
