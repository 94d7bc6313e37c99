"""The hub's commits that data sets were, or will be, read at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from evalkit.data.mirror import hub_file
from evalkit.records import Record

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Pin(Record, frozen=True, kw_only=True):
    """A commit of a data set, with what its card says of its licence."""

    commit: str
    licence: str = "unknown"


def pin(dataset: str, revision: str | None) -> Pin:
    """The commit that a revision (None for the newest) stands for today; asks the hub."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(dataset, revision=revision)
    licence = info.card_data.get("license") if info.card_data else None
    text = ", ".join(licence) if isinstance(licence, list) else licence
    return Pin(commit=info.sha or "", licence=text or "unknown")


def commit_of(data: Any) -> str:
    """The commit that a loaded data set of the hub was read at; empty if it does not say."""
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else [data]
    for part in parts:
        for file in getattr(part, "cache_files", None) or ():
            # datasets keeps what it read from the hub in a folder named by the commit
            folder = Path(file["filename"]).parent.name
            if _COMMIT.fullmatch(folder):
                return folder
    return ""


def pinned_url(url: str, commits: dict[str, str]) -> str:
    """A URL of a file on the hub at one commit; other URLs stay as they are.

    Args:
        url: The URL.
        commits: The commit of each data set; one that is missing is asked for and added.
    """
    place = hub_file(url)
    if place is None or "@" in url:
        return url
    dataset, file = place
    if dataset not in commits:
        commits[dataset] = pin(dataset, None).commit
    return f"hf://datasets/{dataset}@{commits[dataset]}/{file}"
