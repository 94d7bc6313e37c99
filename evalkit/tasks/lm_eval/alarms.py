"""Whether a task's scoring sets alarms, which work in the main thread of a process only.

lm-eval's scorers are written for a program of their own. Some limit their time with SIGALRM;
elsewhere than in the main thread they raise, call a right answer wrong (`minerva_math`,
`putnam_axiom`: the error is swallowed as "not equal"), or even end the process (`score_*_math`:
the timer is set before its handler is refused). So their source is read, and that of what they
import.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

_ALARM = re.compile(r"\bSIGALRM\b|\bsetitimer\b|\balarm\s*\(")
#: What scores through a package, sees its modules at the top; deeper ones are its own affair.
_OWN_CODE = "lm_eval.tasks."


def sets_alarms(task: Any) -> bool:
    """Whether code that scores lm-eval's `task` mentions alarms, or what it imports does."""
    files = {file for code in _scoring_code(task) if (file := _file_of(code))}
    return any(_mentions_alarms(file) for file in files)


def _scoring_code(task: Any) -> Iterator[Any]:
    """The code of a task's own: its class, `process_results`, metrics and filters."""
    yield type(task)
    yield task.config.process_results
    yield from getattr(task, "_metric_fn_list", {}).values()
    for ensemble in getattr(task, "_filters", ()):
        for step in ensemble.filters:
            yield step.func if isinstance(step, partial) else step
            if isinstance(step, partial):  # lm-eval's `custom` filter carries a function
                yield from step.keywords.values()


def _file_of(code: Any) -> str:
    target = code.func if isinstance(code, partial) else code
    if not (inspect.isroutine(target) or inspect.isclass(target)):
        return ""
    module = getattr(target, "__module__", "") or ""
    if module.startswith("lm_eval.") and not module.startswith(_OWN_CODE):
        return ""  # lm-eval's own metrics and filters set none
    try:
        return inspect.getsourcefile(target) or ""
    except TypeError:  # written in C
        return ""


@functools.lru_cache(maxsize=1024)
def _mentions_alarms(file: str) -> bool:
    """Whether a module, one beside it that it imports, or a package that it imports, does."""
    seen: set[Path] = set()
    waiting = [Path(file)]
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        source = path.read_text(encoding="utf-8", errors="replace")
        if _ALARM.search(source):
            return True
        for name in _imports(source):
            beside = path.parent / f"{name.rpartition('.')[2]}.py"
            waiting.append(beside)
            if name.startswith(_OWN_CODE):
                waiting.append(_module_file(name))
            elif _package_mentions_alarms(name.partition(".")[0]):
                return True
    return False


def _imports(source: str) -> Iterator[str]:
    """Names of modules that `source` imports, anywhere in it."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ([node.module] if node.module else (alias.name for alias in node.names))


@functools.lru_cache(maxsize=1024)
def _package_mentions_alarms(name: str) -> bool:
    if not name or name in sys.stdlib_module_names or name == "lm_eval":
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = (file for folder in folders for file in Path(folder).glob("*.py"))
    return any(_ALARM.search(file.read_text("utf-8", errors="replace")) for file in files)


def _module_file(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return Path()
    return Path(spec.origin) if spec and spec.origin else Path()
