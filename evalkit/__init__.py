"""evalkit: produce, repeat and check what a model release claims.

    import evalkit
    run = evalkit.evaluate(models=["openai/gpt-4o"], tasks=["gsm8k"], limit=50)
    run.scores                                  # a pandas DataFrame
    next(run.samples("gsm8k", "openai/gpt-4o"))

The names below are imported when they are first used, so that `import evalkit` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Run", "__version__", "evaluate", "evaluate_async", "load_run"]

_HOMES = {
    "Run": "evalkit.runs",
    "evaluate": "evalkit.api",
    "evaluate_async": "evalkit.api",
    "load_run": "evalkit.runs",
}

if TYPE_CHECKING:
    from evalkit.api import evaluate, evaluate_async
    from evalkit.runs import Run, load_run

    __version__: str


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name == "__version__":
        from importlib.metadata import version

        return version("evalkit")
    if name not in _HOMES:
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
