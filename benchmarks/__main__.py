"""`python -m benchmarks`: everything that is measured here, one after the other.

Parity needs the rows of real benchmarks: name a mirror in EVALKIT_MIRROR.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> None:
    """Run each measurement as a program of its own."""
    programs = [["benchmarks.memory"]]
    if mirror := os.environ.get("EVALKIT_MIRROR"):
        programs.append(["benchmarks.parity", "--mirror", mirror])
    else:
        print("no parity: EVALKIT_MIRROR names no mirror", file=sys.stderr)
    for program in programs:
        subprocess.run([sys.executable, "-m", *program], check=True)


if __name__ == "__main__":
    main()
