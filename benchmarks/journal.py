"""How fast the journal takes answers, and how fast a big one is opened to go on.

    python -m benchmarks.journal --rows 1000000

Prints one JSON line: answers written a second (committed ones, in batches), seconds to open the
file of that many rows for a run, seconds to look up every key in it, and its size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

from evalkit.engine.journal import Journal
from evalkit.records import Response, Usage

_TEXT = "The code is K0000001. It was read from the list of parcels."


def key_of(number: int) -> str:
    """A key like those of a run: hashes, so that rows arrive all over the index."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def measure(rows: int, folder: Path) -> dict[str, float]:
    """Write `rows` answers, close, open again, and look each of them up."""
    file = folder / "journal.sqlite"
    writing = write(file, rows)
    opening, looking = read(file, rows)
    return {
        "rows": rows,
        "responses_per_second": round(rows / writing),
        "open_s": round(opening, 3),
        "look_up_s": round(looking, 3),
        "look_ups_per_second": round(rows / looking),
        "file_mb": round(file.stat().st_size / 1e6, 1),
    }


def write(file: Path, rows: int) -> float:
    """Seconds until `rows` answers are put and committed."""
    keys = [key_of(number) for number in range(rows)]
    response = Response(text=_TEXT, usage=Usage(input_tokens=120, output_tokens=15))
    started = time.perf_counter()
    journal = Journal(file)
    for key in keys:
        journal.put(key, response, model="server/local-model")
    journal.close()
    return time.perf_counter() - started


def read(file: Path, rows: int) -> tuple[float, float]:
    """Seconds to open the file as a run does that goes on, and to look up all its answers.

    Raises:
        ValueError: An answer is not there.
    """
    keys = [key_of(number) for number in range(rows)]
    started = time.perf_counter()
    journal = Journal(file)
    opened = time.perf_counter()
    found = journal.holds(keys)
    ended = time.perf_counter()
    journal.close()
    if found != rows:
        raise ValueError(f"the journal holds {found:,} of {rows:,} answers")
    return opened - started, ended - opened


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments.rows, Path(folder))))


if __name__ == "__main__":
    main()
