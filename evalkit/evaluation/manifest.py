"""manifest.json: what was run, with which versions, and how it ended."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from evalkit.config.run_config import RunConfig, identity
from evalkit.errors import InputError
from evalkit.evaluation.plan import Plan
from evalkit.records import canonical, content_hash
from evalkit.runs import MANIFEST, read_manifest
from evalkit.tasks.protocol import Task

#: Packages whose version can change a score.
_VERSIONED = (
    "lm-eval",
    "datasets",
    "numpy",
    "openai",
    "anthropic",
    "aiohttp",
    "torch",
    "transformers",
    "xllamacpp",
    "sympy",
)


def claim_folder(folder: Path, config: RunConfig) -> dict[str, Any] | None:
    """The manifest of the same run in `folder`, or None if the folder is free.

    Raises:
        InputError: The folder holds another run, or something that is not a run.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The output {folder} is a file; name a folder")
    manifest = read_manifest(folder)
    if manifest is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"The output folder {folder} is not empty and holds no run; name another one"
            )
        return None
    wanted = msgspec.json.decode(canonical(identity(config)))
    found = manifest.get("identity", {})
    different = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    if different:
        shown = "; ".join(
            f"{key} is {_short(found.get(key))} there, {_short(wanted.get(key))} here"
            for key in different
        )
        raise InputError(
            f"The output folder {folder} belongs to another run: {shown}. Name another --output"
        )
    return manifest


def _short(value: Any) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 80 else text[:77] + "..."


def new_manifest(
    plan: Plan, command: Sequence[str], now: datetime, earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The manifest of a run that starts, or goes on from that of an `earlier` session."""
    sessions = (earlier or {}).get("sessions", [])
    return {
        "evalkit": version("evalkit"),
        "state": "running",
        "started": now.isoformat(timespec="seconds"),
        "command": list(command),
        "sessions": [*sessions, {"started": now.isoformat(timespec="seconds")}],
        "config": plan.config,
        "identity": identity(plan.config),
        "run_id": content_hash(identity(plan.config))[:16],
        "models": [
            {"label": m.label, "provider": m.model.provider, "identity": m.model.identity}
            | {"capabilities": m.model.capabilities}
            for m in plan.members
        ],
        "tasks": {one.ref.name: {} for one in plan.selected},
        "skipped": plan.skipped,
        "groups": {group.name: list(group.members) for group in plan.groups},
        "versions": versions(),
        "host": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "machine": platform.machine(),
        },
        "commit": commit(),
    }


def task_entry(task: Task) -> dict[str, Any]:
    """What the manifest says of a task as it was put to one model."""
    return {
        "kind": task.info.kind,
        "version": task.info.version,
        "fingerprint": task.fingerprint,
        "data": task.data_fingerprint(),
        "mode": task.mode,
        "prompting": task.prompting,
    }


def versions() -> dict[str, str]:
    """The installed versions of what can change a score."""
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the checkout that evalkit runs from; empty for an installed wheel."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    asked = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def default_folder(config: RunConfig, now: datetime) -> Path:
    """Where a run goes that names no output."""
    return Path("results") / f"{now:%Y-%m-%dT%H-%M-%S}-{content_hash(identity(config))[:8]}"


__all__ = [
    "MANIFEST",
    "claim_folder",
    "commit",
    "default_folder",
    "new_manifest",
    "task_entry",
    "versions",
]
