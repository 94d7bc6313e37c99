"""Builds one lm-eval task from a reference: the only place that calls lm-eval's factory.

lm-eval loads data in a task's constructor, and some tasks draw from the global random number
generators there. So a task is built alone, when it is needed, with the generators seeded as
`simple_evaluate` seeds them, and put back afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.data.options import DataOptions
from evalkit.errors import ConfigError, DataError, InputError, UnsupportedError
from evalkit.records import Record, content_hash
from evalkit.tasks.lm_eval.code_eval import runs_in_sandbox, sandboxed_code_eval
from evalkit.tasks.lm_eval.contexts import is_steady
from evalkit.tasks.lm_eval.deferral import deferred
from evalkit.tasks.lm_eval.definitions import FUNCTION, read_definition
from evalkit.tasks.lm_eval.pools import pools_in_arrow
from evalkit.tasks.lm_eval.runtime import (
    OTHER_SEED,
    SELDOM_USED,
    metrics_offline,
    prepare,
    seeded,
    without_bars,
)
from evalkit.tasks.lm_eval.values import plain
from evalkit.tasks.protocol import TaskRef

if TYPE_CHECKING:
    from evalkit.data.hub import Origin


class Built(Record, frozen=True, kw_only=True):
    """A task of lm-eval, its documents, and what names the rows they were made from.

    `notes` are what a mirror says of rows that are not the whole upstream split.
    """

    task: Any
    docs: Any
    data_fingerprint: str
    notes: tuple[str, ...] = ()


def definition_of(ref: TaskRef) -> dict[str, Any]:
    """The definition that `ref` stands for, functions unresolved, without importing lm-eval."""
    own = read_definition(Path(ref.path)) if ref.path else {}
    return own | ref.overrides | {"task": ref.name}


def build(ref: TaskRef, data: DataOptions, seed: int = OTHER_SEED) -> Built:
    """The lm-eval task of `ref`, with its data loaded.

    Args:
        ref: From `select`.
        data: Where rows come from.
        seed: For whatever the task draws while it is built.

    Raises:
        UnsupportedError: The task needs pictures or sound, or runs code outside a sandbox.
        DataError: Its data cannot be had.
        ConfigError: Its definition is wrong.
    """
    definition = definition_of(ref)
    _refuse(ref, definition)
    runs_code = bool(definition.get("unsafe_code"))
    # lm-eval imports datasets, so that both are slow to import
    from evalkit.data.redirect import redirected

    prepare()
    with (
        redirected(data) as origins,
        deferred(SELDOM_USED),
        seeded(seed),
        metrics_offline(data.offline),
        without_bars(),
        sandboxed_code_eval(Path(ref.path)) if runs_code else nullcontext(),
    ):
        with pools_in_arrow():
            task = _construct(ref)
        _refuse_built(ref, task)
        _check_metrics(ref.name, task)
        docs = _documents(task)
    if not hasattr(docs, "__getitem__"):
        docs = list(docs)
    notes = tuple(dict.fromkeys(note for origin in origins for note in origin.notes))
    return Built(task=task, docs=docs, data_fingerprint=_rows_name(origins, docs), notes=notes)


def _documents(task: Any) -> Any:
    """The documents as `build_all_requests` sees them: processed anew, after what came before.

    Each look at `task_name` draws from Python's generator (the name that it falls back on),
    and `TaskManager.load` looks three times at a task that is loaded alone. Where nothing is drawn,
    processing anew gives what the constructor has got already.
    """
    for _ in range(3):
        getattr(task, "task_name", None)
    known = getattr(task, "task_docs", None)
    return task.eval_docs if known is None or not is_steady(task.config.process_docs) else known


def _rows_name(origins: Sequence[Origin], docs: Any) -> str:
    """The data sets that were loaded; where a task made its rows itself, their hash."""
    named = [f"{'/'.join(filter(None, (o.dataset, o.config)))} {o.fingerprint}" for o in origins]
    if named:
        return "; ".join(dict.fromkeys(named))
    return f"made:{content_hash([plain(doc) for doc in docs])}"


def _refuse(ref: TaskRef, definition: dict[str, Any]) -> None:
    if definition.get("doc_to_image") or definition.get("doc_to_audio"):
        raise UnsupportedError(
            f"Task {ref.name!r} shows pictures or plays sound, and requests here carry text only"
        )
    if definition.get("unsafe_code") and not runs_in_sandbox(Path(ref.path)):
        raise UnsupportedError(
            f"Task {ref.name!r} runs the model's code inside this process, without a sandbox; "
            "evalkit's own tasks in the category code run it in one (evalkit tasks list)"
        )


def _refuse_built(ref: TaskRef, task: Any) -> None:
    flags = {"doc_to_image": getattr(task, "MULTIMODAL", False)}
    _refuse(ref, flags | {"unsafe_code": getattr(task, "UNSAFE_CODE", False)})


def _check_metrics(name: str, task: Any) -> None:
    """lm-eval goes on without a metric that it cannot get, and fails when it scores."""
    functions = getattr(task, "_metric_fn_list", {})
    missing = [metric for metric, function in functions.items() if function is None]
    if missing and task.OUTPUT_TYPE == "generate_until" and task.config.process_results is None:
        raise DataError(
            f"Task {name!r} is scored by {', '.join(missing)} of the `evaluate` package, "
            "whose code is on the Hugging Face hub and could not be fetched"
        )


def _construct(ref: TaskRef) -> Any:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._factory import TaskFactory
    from lm_eval.tasks._index import Entry, Kind

    overrides = resolve_functions(ref.overrides) | {"task": ref.name}
    try:
        if not ref.path:
            return ConfigurableTask(config={"metadata": {}} | overrides)
        entry = Entry(name=ref.name, kind=Kind.TASK, yaml_path=Path(ref.path))
        return TaskFactory().build(entry, overrides=overrides, registry={})
    except InputError:
        raise
    except (ImportError, ModuleNotFoundError) as error:
        raise UnsupportedError(
            f"Task {ref.name!r} needs a package that is not installed: {error}"
        ) from error
    except (OSError, ConnectionError) as error:
        raise DataError(f"Task {ref.name!r}: its data cannot be read: {error}") from error
    except Exception as error:  # anything that a definition's own code raises
        message = f"lm-eval cannot build the task {ref.name!r}: {type(error).__name__}: {error}"
        raise ConfigError(message, path=ref.path) from error


def resolve_functions(value: Any) -> Any:
    """`value` with every unresolved `!function` replaced by the function that it names."""
    if isinstance(value, dict):
        if set(value) == {FUNCTION}:
            return _import_function(value[FUNCTION])
        return {key: resolve_functions(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve_functions(item) for item in value]
    return value


def _import_function(named: str) -> Any:
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    place = Path(named)
    return _import_func_in_yml(place.name, place.parent)
