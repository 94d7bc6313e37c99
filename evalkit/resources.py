"""Where the definitions that ship with evalkit are, installed or in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """The folder of shipped definitions of `kind`: `tasks`, `judges` or `human_eval_app`.

    Raises:
        FileNotFoundError: The installation is broken.
    """
    places = [_PACKAGE / "_data" / kind, _PACKAGE.parent / kind]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"evalkit ships no {kind!r} folder; looked in {places}")


def cache_dir() -> Path:
    """Where evalkit keeps what it fetched: `EVALKIT_CACHE`, or the user's cache folder."""
    if configured := os.environ.get("EVALKIT_CACHE"):
        return Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "evalkit"
