"""`python -m benchmarks`: everything that is measured here, one after the other.

Speed and memory go to docs/performance.md, with the arguments of `benchmarks.performance`. Parity
needs the rows of real benchmarks: name a mirror in EVALKIT_MIRROR; it runs where no section is
named.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks import performance


def main() -> None:
    """Measure speed, then parity."""
    performance.main()
    if sys.argv[1:]:
        return
    if mirror := os.environ.get("EVALKIT_MIRROR"):
        command = [sys.executable, "-m", "benchmarks.parity", "--mirror", mirror]
        subprocess.run(command, check=True)
    else:
        print("no parity: EVALKIT_MIRROR names no mirror", file=sys.stderr)


if __name__ == "__main__":
    main()
