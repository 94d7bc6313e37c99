"""The hub's own Parquet copies of data sets whose loading scripts `datasets` refuses.

The hub keeps them on the branch `refs/convert/parquet`, one folder a config:
https://huggingface.co/docs/dataset-viewer/parquet
"""

from __future__ import annotations

import re
from typing import Any

from evalkit.data.refusals import described, not_converted
from evalkit.errors import DataError

BRANCH = "refs/convert/parquet"
_FILE = re.compile(r"(?P<config>[^/]+)/(?P<split>[^/]+)/\d+\.parquet")
#: Splits of which the hub converted only the first part.
_PARTIAL = "partial-"


def load_converted(
    path: str, config: str | None, split: Any, rest: dict[str, Any]
) -> tuple[Any, str]:
    """The data set out of the hub's Parquet copy, and the branch's commit that it was read at.

    Args:
        path: Its name on the hub.
        config: Its config.
        split: As `load_dataset` takes it.
        rest: Other arguments of the call; `token` and `streaming` matter here.

    Raises:
        DataError: There is no copy, no such config, or the copy of a split is cut short.
    """
    from datasets.load import load_dataset
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        info = HfApi(token=rest.get("token")).dataset_info(path, revision=BRANCH)
    except RevisionNotFoundError as error:
        raise not_converted(path, config) from error
    splits = parquet_files(path, config, [file.rfilename for file in info.siblings or ()])
    urls = {
        name: [f"hf://datasets/{path}@{info.sha}/{file}" for file in files]
        for name, files in splits.items()
    }
    kept = {key: rest[key] for key in ("token", "streaming") if key in rest}
    return load_dataset("parquet", data_files=urls, split=split, **kept), str(info.sha)


def parquet_files(path: str, config: str | None, files: list[str]) -> dict[str, list[str]]:
    """The Parquet files of each split of a config, in order.

    Raises:
        DataError: There are none, or those of a split are cut short.
    """
    found = [match for file in sorted(files) if (match := _FILE.fullmatch(file))]
    wanted = _config(path, config, sorted({match["config"] for match in found}))
    splits: dict[str, list[str]] = {}
    for match in found:
        if match["config"] == wanted:
            splits.setdefault(match["split"], []).append(match[0])
    for split in splits:
        if split.startswith(_PARTIAL):
            whole = split.removeprefix(_PARTIAL)
            raise DataError(
                f"{described(path, config)} is a loading script, and the hub converted only a "
                f"part of its split {whole!r}: put its rows in a mirror (docs/data.md)"
            )
    return splits


def _config(path: str, config: str | None, known: list[str]) -> str:
    if config in known:
        return str(config)
    if config is None and (len(known) == 1 or "default" in known):
        return "default" if "default" in known else known[0]
    has = f"it has {', '.join(known)}" if known else "it has no data"
    wanted = f"has no config {config!r}" if config else "needs a config name"
    raise DataError(f"The hub's converted copy of dataset {path!r} {wanted}: {has}")
