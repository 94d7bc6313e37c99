"""docs/performance.md as a pure function of what was measured and what was written about it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.criteria import Criterion
from benchmarks.rounds import Load, fastest, medians, round_ratios
from benchmarks.sections import ChatSection, Section

_INTRODUCTION = """\
# Performance

Written by `make bench`, which measures evalkit and its peers on one machine, over the same files
and the same local server, in the same sitting. Harnesses alternate round by round, each pinned to
one core and the server to another; the numbers are medians over the rounds. A machine's speed
drifts, so ratios count for more than seconds. A run that does not score every sample as it should
is no measurement and ends the program."""

_AGAIN = """\
```sh
make bench                                            # everything; takes about an hour
make bench BENCH="chat_0ms --rounds 5"                # one section; the page keeps the others
make bench BENCH=--render-only                        # the page from what was measured before
```"""


def page(
    results: Mapping[str, Any], sections: Mapping[str, Section], notes: Mapping[str, str]
) -> str:
    """The whole page.

    Args:
        results: What was measured: `machine`, `versions`, and `sections` by name.
        sections: What there is to measure, in the page's order.
        notes: Hand-written Markdown by the section's name: where its time goes.
    """
    measured = results["sections"]
    parts = [_INTRODUCTION, _AGAIN, _machine(results), _summary(measured, sections)]
    for name, section in sections.items():
        parts.append(_section(section, measured.get(name), results["machine"], notes.get(name)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(results: Mapping[str, Any]) -> str:
    facts = "; ".join(f"{what}: {fact}" for what, fact in results["machine"].items())
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return f"Machine: {facts}.\n\nVersions: {versions}."


def _summary(measured: Mapping[str, Any], sections: Mapping[str, Section]) -> str:
    rows = [
        [section.title, *_verdict(criterion)]
        for name, section in sections.items()
        if "data" in measured.get(name, {})
        for criterion in section.criteria(measured[name]["data"])
    ]
    head = ["work", "number", "measured", "wanted", ""]
    return "## What was wanted\n\n" + table(head, rows) if rows else ""


def _verdict(criterion: Criterion) -> list[str]:
    side = "at least" if criterion.at_least else "at most"
    return [
        criterion.what,
        _with_unit(criterion.value, criterion.unit),
        f"{side} {_with_unit(criterion.limit, criterion.unit)}",
        "met" if criterion.met else "**not met**",
    ]


def _section(
    section: Section,
    found: Mapping[str, Any] | None,
    machine: Mapping[str, str],
    note: str | None,
) -> str:
    parts = [f"## {section.title}"]
    if found is None or "data" not in found:
        parts.append(f"Not measured: {(found or {}).get('not_measured', 'not run yet')}.")
    else:
        chat = isinstance(section, ChatSection)
        parts += _chat(found["data"]) if chat else _program(found["data"])
        parts += [_elsewhere(found, machine), _commands(found["commands"])]
    if note:
        parts += ["### Where the time goes", note.strip()]
    return "\n\n".join(part for part in parts if part)


def _elsewhere(found: Mapping[str, Any], machine: Mapping[str, str]) -> str:
    if found["machine"] == machine:
        return ""
    facts = "; ".join(f"{what}: {fact}" for what, fact in found["machine"].items())
    return f"Measured on another machine: {facts}."


def _commands(commands: Sequence[str]) -> str:
    return "```sh\n" + "\n".join(commands) + "\n```"


def _chat(data: Mapping[str, Any]) -> list[str]:
    runs, samples = data["runs"], data["samples"]
    load = Load(data["latency_ms"], data["concurrency"])
    rounds = max(len(each) for each in runs.values())
    ideal = f"; the answers alone take {load.ideal_s(samples):.1f} s" if load.latency_ms else ""
    parts = [f"Samples: {samples:,}; rounds: {rounds}{ideal}.", _harnesses(runs, load)]
    parts += [_ratio_line(runs["evalkit"], name, runs[name]) for name in runs if name != "evalkit"]
    parts += [f"{name} was not measured: {why}." for name, why in data["missing"].items()]
    return parts


def _harnesses(runs: Mapping[str, Sequence[Mapping[str, Any]]], load: Load) -> str:
    head = ["harness", "wall (fastest)", "CPU", "peak memory", "start to first request"]
    head += ["first request to last answer", "in flight: mean (most)", "requests", "MB sent"]
    rows = []
    for name, each in runs.items():
        m = medians(each)
        rows.append(
            [
                name,
                f"{m['wall_s']:.1f} s ({fastest(each):.1f})",
                f"{m['cpu_s']:.1f} s",
                f"{m['peak_rss_mb']:.0f} MB",
                f"{m['first_request_s']:.2f} s",
                f"{m['requests_s']:.2f} s",
                # without latency, the server answers before it reads the next request
                f"{m['mean_in_flight']:.1f} ({m['max_in_flight']:.0f})" if load.latency_ms else "–",
                f"{m['received']:,.0f}",
                f"{m['bytes_in'] / 1e6:.1f}",
            ]
        )
    return table(head, rows)


def _ratio_line(
    ours: Sequence[Mapping[str, Any]], name: str, theirs: Sequence[Mapping[str, Any]]
) -> str:
    of_medians = medians(ours)["wall_s"] / medians(theirs)["wall_s"]
    each = round_ratios(ours, theirs)
    shown = ", ".join(f"{value:.3f}" for value in each)
    return (
        f"evalkit takes {of_medians:.3f} of {name}'s wall time "
        f"(round by round: {shown}; median {statistics.median(each):.3f})."
    )


def _program(data: Mapping[str, Any]) -> list[str]:
    """One table for each run of lines that say the same things."""
    groups: list[list[dict[str, Any]]] = []
    for line in map(_flat, data["lines"]):
        if groups and groups[-1][0].keys() == line.keys():
            groups[-1].append(line)
        else:
            groups.append([line])
    return [_lines_table(group) for group in groups]


def _lines_table(lines: Sequence[Mapping[str, Any]]) -> str:
    names = list(lines[0])
    if len(lines) == 1 and len(names) > 6:
        return table(["", "measured"], [[name, _cell(lines[0][name])] for name in names])
    return table(names, [[_cell(line[name]) for name in names] for line in lines])


def _flat(line: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in line.items():
        key = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            found |= _flat(value, f"{key}: ")
        else:
            found[key] = value
    return found


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A number with the digits that mean something: four of them, thousands with commas."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
