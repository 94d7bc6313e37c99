"""Measures evalkit against its peers and writes docs/performance.md.

    python -m benchmarks.performance                          # every section
    python -m benchmarks.performance chat_0ms --rounds 3      # one; the others are kept
    python -m benchmarks.performance --render-only

What was measured is kept as JSON (`--results`), so that sections can be run one at a time, and
again. A section whose program or peer is missing is said to be not measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.inspect_environment import NotMeasured, cache_folder, inspect_program, version_of
from benchmarks.machine import machine_facts, package_versions
from benchmarks.peers import Evalkit, Inspect, LmEval, Peer
from benchmarks.performance_page import page
from benchmarks.processes import ProcessFailed
from benchmarks.rounds import WrongRun, measure_rounds
from benchmarks.sections import SECTIONS, ChatSection, ProgramSection
from benchmarks.workloads import write_chat

ROOT = Path(__file__).resolve().parent.parent
NOTES = Path(__file__).resolve().parent / "performance_notes"


def find_peers(wanted: Sequence[str]) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    """The harnesses to compare; why others are missing; the versions of those outside."""
    peers: list[Peer] = [Evalkit()]
    missing, versions = {}, {}
    if "lm-eval" in wanted:
        peers.append(LmEval())
    if "Inspect" in wanted:
        try:
            program = inspect_program()
            versions["Inspect"] = version_of(program)
            peers.append(Inspect(program))
        except NotMeasured as reason:
            missing["Inspect"] = str(reason)
    return peers, missing, versions


def measure_chat(
    name: str, section: ChatSection, samples: int, rounds: int, wanted: Sequence[str]
) -> dict[str, Any]:
    """All harnesses over one chat row, after a round of few samples that is not counted."""
    peers, missing, versions = find_peers(wanted)
    folder = cache_folder() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        place, chat = Path(scratch), write_chat(Path(scratch) / "chat", samples)
        measure_rounds(peers, replace(chat, limit=20), section.load, 1, place)
        runs = measure_rounds(peers, chat, section.load, rounds, place)
        commands = [f"python -m benchmarks.performance {name} --rounds {rounds}"]
        for peer in peers:
            shown = peer.command(chat, "$URL", section.load.concurrency, place / "run").shown()
            commands.append(shown.replace(scratch, "$FOLDER"))
    data = {
        "latency_ms": section.load.latency_ms,
        "concurrency": section.load.concurrency,
        "samples": samples,
        "runs": runs,
        "missing": missing,
    }
    return {"data": data, "commands": commands, "versions": versions}


def measure_program(section: ProgramSection) -> dict[str, Any]:
    """What a program of `benchmarks/` prints.

    Raises:
        NotMeasured: There is no such program, or it failed.
    """
    if importlib.util.find_spec(f"benchmarks.{section.module}") is None:
        raise NotMeasured(f"there is no benchmarks/{section.module}.py")
    command = [sys.executable, "-m", f"benchmarks.{section.module}", *section.flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise NotMeasured(f"benchmarks.{section.module} ended with {done.returncode}")
    shown = " ".join(["python", *command[1:]])
    return {"data": {"lines": read_lines(done.stdout)}, "commands": [shown]}


def read_lines(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a program's output: one a line, or one list of them."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith(("{", "[")):
            value = json.loads(line)
            found += value if isinstance(value, list) else [value]
    return found


def merged(
    results: Mapping[str, Any], name: str, found: Mapping[str, Any], machine: Mapping[str, str]
) -> dict[str, Any]:
    """`results` with a section measured anew, on `machine`."""
    entry = {**found, "machine": dict(machine)}
    versions = {**results.get("versions", {}), **package_versions(), **entry.pop("versions", {})}
    sections = {**results.get("sections", {}), name: entry}
    return {"machine": dict(machine), "versions": versions, "sections": sections}


def read_results(file: Path) -> dict[str, Any]:
    """What was measured before; nothing where there is no such file."""
    if not file.exists():
        return {"machine": machine_facts(), "versions": package_versions(), "sections": {}}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def read_notes() -> dict[str, str]:
    """What was written by hand, by the section's name."""
    files = [file for file in sorted(NOTES.glob("*.md")) if file.name != "README.md"]
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one section, or say why not."""
    section = SECTIONS[name]
    try:
        if isinstance(section, ChatSection):
            wanted = () if arguments.no_peers else ("lm-eval", "Inspect")
            return measure_chat(name, section, arguments.samples, arguments.rounds, wanted)
        return measure_program(section)
    except NotMeasured as reason:
        return {"not_measured": str(reason)}


def write_page(results: Mapping[str, Any], file: Path) -> None:
    """Write the page from what was measured so far."""
    file.write_text(page(results, SECTIONS, read_notes()), encoding="utf-8")


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=5000, help="of each chat row")
    parser.add_argument("--no-peers", action="store_true", help="evalkit alone in the chat rows")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "performance.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--render-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return arguments


def main(words: Sequence[str] | None = None) -> None:
    """Measure and write."""
    arguments = read_arguments(words)
    results = read_results(arguments.results)
    wanted = [] if arguments.render_only else arguments.sections or list(SECTIONS)
    for name in wanted:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            found = measure(name, arguments)
        except (WrongRun, ProcessFailed) as error:
            raise SystemExit(f"{name}: {error}") from None
        results = merged(results, name, found, machine_facts())
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(results, arguments.page)
    print(f"wrote {arguments.page}", file=sys.stderr)


if __name__ == "__main__":
    main()
