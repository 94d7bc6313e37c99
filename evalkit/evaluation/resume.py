"""A run's config, read back from its manifest."""

from __future__ import annotations

from pathlib import Path

import msgspec

from evalkit.config.run_config import RunConfig
from evalkit.errors import InputError
from evalkit.runs import MANIFEST, read_manifest


def config_of(folder: Path) -> RunConfig:
    """The config that `folder` was run with, its output set to `folder` itself.

    Raises:
        InputError: There is no run there, or its manifest holds no readable config.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder} is not a run folder: it has no {MANIFEST}")
    try:
        config = msgspec.convert(manifest.get("config"), RunConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"{folder / MANIFEST}: the config cannot be read: {error}") from None
    return msgspec.structs.replace(config, output=str(folder), cache=True)
