"""What this machine has and lacks."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from evalkit.records import Record
from evalkit.resources import cache_dir, shipped

#: package -> why one would want it, and how to get it
_OPTIONAL = {
    "torch": ("models in process (hf/)", "pip install 'evalkit[hf]'"),
    "transformers": ("models in process (hf/), local tokenizers", "pip install 'evalkit[hf]'"),
    "xllamacpp": ("the embedded model and GGUF files (llamacpp/)", "pip install 'evalkit[local]'"),
}
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN")


class Finding(Record, frozen=True, kw_only=True):
    """One thing that was looked at; `ok` is None for what is optional and absent."""

    what: str
    ok: bool | None
    found: str = ""
    remedy: str = ""


def examine(environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Everything that a run may need."""
    return [
        _python(),
        _package("lm-eval", "benchmarks", "pip install evalkit", needed=True),
        _package("datasets", "benchmark rows", "pip install evalkit", needed=True),
        *(_package(name, why, how) for name, (why, how) in _OPTIONAL.items()),
        _sandbox(),
        _writable(cache_dir()),
        _definitions(),
        _mirror(environ),
        *(_key(name, environ) for name in _KEYS),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.platform()}"
    return Finding(what="Python 3.10 or later", ok=sys.version_info >= (3, 10), found=found)


def _package(name: str, why: str, remedy: str, needed: bool = False) -> Finding:
    what = f"{name}: {why}"
    try:
        return Finding(what=what, ok=True, found=version(name))
    except PackageNotFoundError:
        return Finding(what=what, ok=False if needed else None, remedy=remedy)


def _sandbox() -> Finding:
    from evalkit.scoring.sandbox import available

    reason = available()
    what = "sandbox: benchmarks that run a model's code"
    if reason is None:
        return Finding(what=what, ok=True, found="bubblewrap")
    return Finding(what=what, ok=None, remedy=reason)


def _writable(folder: Path) -> Finding:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    ok = os.access(existing, os.W_OK)
    remedy = "" if ok else "set EVALKIT_CACHE to a folder that can be written"
    return Finding(what="cache folder", ok=ok, found=str(folder), remedy=remedy)


def _definitions() -> Finding:
    try:
        return Finding(what="task definitions", ok=True, found=str(shipped("tasks")))
    except FileNotFoundError as error:
        return Finding(what="task definitions", ok=False, found=str(error), remedy="install again")


def _mirror(environ: Mapping[str, str]) -> Finding:
    folder = environ.get("EVALKIT_MIRROR", "")
    what = "mirror of data sets (EVALKIT_MIRROR)"
    if not folder:
        return Finding(what=what, ok=None, remedy="evalkit data pull -s SUITE --into DIR fills one")
    ok = Path(folder).is_dir()
    return Finding(what=what, ok=ok, found=folder, remedy="" if ok else "there is no such folder")


def _key(name: str, environ: Mapping[str, str]) -> Finding:
    is_set = bool(environ.get(name))
    return Finding(what=name, ok=True if is_set else None, found="set" if is_set else "")
