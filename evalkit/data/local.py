"""Local files and folders, read by the builders of `datasets`."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from evalkit.data.files import sha256_of
from evalkit.data.mirrored import joint_fingerprint
from evalkit.data.query import BUILDERS, Query
from evalkit.data.refusals import explained, failures
from evalkit.errors import DataError


def load_local(query: Query) -> tuple[Any, str]:
    """The data set and the fingerprint of the files it was read from.

    Raises:
        DataError: A file is missing, or is not what its builder reads.
    """
    from datasets.load import load_dataset

    hashes = {str(file): sha256_of(file) for file in _files(query)}
    try:
        data = load_dataset(query.path, **query.arguments)
    except failures() as error:
        raise explained(error, query.path, query.config) from error
    return data, f"file:{joint_fingerprint(hashes)}"


def _files(query: Query) -> list[Path]:
    """The files behind a query.

    Raises:
        DataError: There are none.
    """
    base = "" if query.path in BUILDERS else query.path
    folder = Path(base, query.data_dir or "").expanduser()
    patterns = query.files or ["**"]
    found = [Path(name) for pattern in patterns for name in _matches(folder, pattern)]
    files = sorted({path for path in found if path.is_file()})
    if not files:
        wanted = ", ".join(query.files) or query.path
        raise DataError(f"There is no data file {wanted}: looked in {folder.resolve()}")
    return files


def _matches(folder: Path, pattern: str) -> list[str]:
    literal = folder / Path(pattern).expanduser()
    found = glob.glob(str(literal), recursive=True)  # noqa: PTH207 it may be absolute
    return [str(literal)] if literal.exists() else found
