"""What a measurement was taken on: processor, memory, system, and versions of what ran."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Packages whose versions move the numbers.
PACKAGES = (
    *("evalkit", "lm-eval", "aiohttp", "openai", "anthropic", "httpx", "msgspec", "uvloop"),
    *("datasets", "numpy", "torch", "transformers", "xllamacpp"),
)


def machine_facts() -> dict[str, str]:
    """This machine in words, by what each says."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory_gb():.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def package_versions() -> dict[str, str]:
    """The versions of `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
