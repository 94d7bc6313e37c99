"""Where a run takes its data from: a mirror, the network or neither, and the cache folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evalkit.errors import InputError
from evalkit.records import Record
from evalkit.resources import cache_dir

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


class DataOptions(Record, frozen=True, kw_only=True):
    """Where rows come from.

    Args:
        mirror: Folder of an offline mirror, looked up before the hub; empty for none.
        offline: Never touch the network: what is neither in the mirror nor cached is an error.
        cache: Folder for what was fetched or converted; empty for evalkit's own.
    """

    mirror: str = ""
    offline: bool = False
    cache: str = ""

    @property
    def cache_path(self) -> Path:
        """The cache folder, which need not exist yet."""
        return Path(self.cache).expanduser() if self.cache else cache_dir()


def data_options(
    mirror: str | None, offline: bool | None, environ: Mapping[str, str]
) -> DataOptions:
    """The options that flags (None where not given) and the environment say; flags win.

    Raises:
        InputError: `EVALKIT_OFFLINE` or `HF_HUB_OFFLINE` is neither true nor false.
    """
    folder = environ.get("EVALKIT_MIRROR", "") if mirror is None else mirror
    if offline is None:
        offline = any(_switch(environ, name) for name in ("EVALKIT_OFFLINE", "HF_HUB_OFFLINE"))
    return DataOptions(
        mirror=str(Path(folder).expanduser()) if folder else "",
        offline=offline,
        cache=str(cache_dir()),
    )


def _switch(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InputError(f"{name}={environ[name]!r} is neither true nor false: set it to 1 or 0")
