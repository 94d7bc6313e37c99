"""Which concurrency evalkit chooses by itself: `python -m benchmarks.knee`.

The server works on CAPACITY requests at full speed and shares itself among more (or, with --line,
lets them wait), so that its throughput stops growing there and its latency goes on growing: the
knee. `evalkit run` gets no --concurrency. One JSON line a server: what was chosen (the manifest's
`engine`), what the server saw, how long the requests took, and how long they take where the
server is full from the start.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import Evalkit, Result
from benchmarks.rounds import SERVER_CORE, Load, measure_run
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import ANSWER, Chat, write_chat

#: Capacity, and seconds of an answer below it.
SERVERS = ((16, 0.2), (64, 0.2), (256, 0.2), (64, 1.0))
#: A server is taken for full above this share of its capacity.
FULL = 0.9
WATCH_EVERY_S = 0.1


class Adaptive(Evalkit):
    """`evalkit run` that keeps what its manifest says of the engine."""

    engine: dict[str, Any]

    def result(self, output: Path) -> Result:
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        self.engine = manifest["engine"]
        return super().result(output)


class Watch:
    """Looks at how many requests are in flight, again and again, in a thread of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        #: Seconds since 1970, and requests in flight then.
        self.seen: list[tuple[float, int]] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(WATCH_EVERY_S):
            self.seen.append((time.time(), self._server.stats()["in_flight"]))


def seconds_until(seen: Sequence[tuple[float, int]], least: float) -> float | None:
    """Seconds from the first request in flight until `least` were; None where they never were."""
    began = next((moment for moment, count in seen if count), None)
    full = next((moment for moment, count in seen if count >= least), None)
    return None if began is None or full is None else full - began


def highest_after(seen: Sequence[tuple[float, int]], share: float) -> int:
    """The most requests in flight in the last `share` of the time that there were any."""
    counts = [count for _, count in seen if count]
    return max(counts[int(len(counts) * (1 - share)) :], default=0)


def measure(
    capacity: int, latency_s: float, seconds: float, shared: bool, folder: Path
) -> dict[str, Any]:
    """Run as many samples as a full server answers in `seconds`."""
    samples = int(capacity / latency_s * seconds)
    chat: Chat = write_chat(folder / "chat", samples)
    flags = ["--answer", ANSWER, "--no-count-bodies", "--latency-ms", str(latency_s * 1000)]
    flags += ["--capacity", str(capacity), *(["--shared"] if shared else [])]
    peer = Adaptive()
    with ServerProcess(flags, core=SERVER_CORE) as server, Watch(server) as watch:
        run = measure_run(peer, chat, Load(latency_s * 1000, 0), server, folder)
    full_after = seconds_until(watch.seen, FULL * capacity)
    return {
        "capacity": capacity,
        "latency_ms": latency_s * 1000,
        "beyond_it": "shared" if shared else "in line",
        "samples": samples,
        "requests_s": run.requests_s,
        "ideal_s": round(samples * latency_s / capacity, 3),
        "mean_in_flight": run.mean_in_flight,
        "most_in_flight": run.max_in_flight,
        "most_in_flight_in_last_quarter": highest_after(watch.seen, 0.25),
        "full_after_s": None if full_after is None else round(full_after, 1),
        "engine": _said(peer.engine),
    }


def _said(engine: dict[str, Any]) -> str:
    """What the manifest says of concurrency, whatever it calls it."""
    found = {
        f"{label}: {name}": value
        for label, facts in engine.get("models", {}).items()
        for name, value in facts.items()
        if "concurrency" in name or "limit" in name
    }
    return json.dumps(found) if found else "nothing"


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="of a full server, a run")
    parser.add_argument("--capacity", type=int, default=None, help="one server instead of all")
    parser.add_argument("--latency-ms", type=float, default=200)
    parser.add_argument("--line", action="store_true", help="those beyond the capacity wait")
    arguments = parser.parse_args(words)
    one = ((arguments.capacity, arguments.latency_ms / 1000),) if arguments.capacity else SERVERS
    for capacity, latency_s in one:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(
                capacity, latency_s, arguments.seconds, not arguments.line, Path(folder)
            )
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
