"""Which data sets a task needs, read from its definition alone."""

from __future__ import annotations

from typing import Any

from evalkit.data.pull import DatasetRef
from evalkit.tasks.protocol import TaskRef

_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def datasets_of(ref: TaskRef) -> list[DatasetRef]:
    """The data sets of the hub that a task reads; empty where it reads none, or says so in code."""
    if ref.kind == "lm_eval":
        from evalkit.tasks.lm_eval.construct import definition_of

        return _of_lm_eval(definition_of(ref))
    from evalkit.tasks.declarative import sources_of

    return [
        DatasetRef(
            path=source.hub,
            config=source.config,
            splits=((source.split or "").partition("[")[0],),
            revision=source.revision or "",
        )
        for source in sources_of(ref)
        if source.hub
    ]


def _of_lm_eval(definition: dict[str, Any]) -> list[DatasetRef]:
    path = definition.get("dataset_path")
    if not isinstance(path, str) or definition.get("custom_dataset") or "class" in definition:
        return []
    arguments = dict(definition.get("dataset_kwargs") or {})
    arguments.pop("trust_remote_code", None)
    fewshot = definition.get("fewshot_config") or {}
    named = [definition.get(key) for key in _SPLITS]
    named.append(fewshot.get("split") if isinstance(fewshot, dict) else None)
    splits = dict.fromkeys(name for name in named if isinstance(name, str))
    files = arguments.pop("data_files", None)
    config = definition.get("dataset_name")
    return [
        DatasetRef(
            path=path,
            config=config if isinstance(config, str) else None,
            splits=tuple(splits),
            revision=arguments.pop("revision", "") or "",
            data_files=files if isinstance(files, dict) else {},
            arguments=arguments,
        )
    ]
