"""The page is a pure function of what was measured: made-up numbers, one golden page."""

from pathlib import Path

import pytest

from benchmarks.criteria import Limit
from benchmarks.performance import SECTIONS, merged, page, read_arguments, read_lines, read_notes
from benchmarks.performance_page import number
from benchmarks.rounds import Load
from benchmarks.sections import ChatSection, ProgramSection

GOLDEN = Path(__file__).parent / "performance_golden.md"
MACHINE = {"processor": "Abacus 3000, 2 cores", "memory": "8 GB"}


def run(wall, **changes):
    base = {
        "wall_s": wall,
        "cpu_s": wall / 2,
        "peak_rss_mb": 100.0,
        "first_request_s": 0.5,
        "requests_s": wall - 1,
        "received": 1000,
        "bytes_in": 600_000,
        "max_in_flight": 64,
        "mean_in_flight": 60.25,
    }
    return base | changes


def chat(latency_ms, runs, missing=None):
    data = {"latency_ms": latency_ms, "concurrency": 64, "samples": 1000, "runs": runs}
    return {"data": data | {"missing": missing or {}}, "commands": ["first", "second"]}


RESULTS = {
    "machine": MACHINE,
    "versions": {"evalkit": "1.2", "lm-eval": "0.4"},
    "sections": {
        "fast": chat(
            0,
            {
                "evalkit": [run(2.0), run(3.0), run(2.5)],
                "lm-eval": [run(20.0), run(20.0), run(25.0)],
                "Inspect": [run(10.0), run(20.0), run(20.0)],
            },
        )
        | {"machine": MACHINE},
        "slow": chat(200, {"evalkit": [run(5.0)]}, {"Inspect": "it could not be installed"})
        | {"machine": MACHINE | {"memory": "16 GB"}},
        "lines": {
            "data": {
                "lines": [
                    {"adapter": "server", "cost_ms": 0.25, "rounds": [0.2, 0.25, 0.3]},
                    {"adapter": "openai", "cost_ms": 1234.5, "rounds": [1, 2, 3]},
                    {"rows": 1_000_000, "inner": {"open_s": 0.001, "whole": None}, "ok": True},
                ]
            },
            "commands": ["python -m benchmarks.lines"],
            "machine": MACHINE,
        },
        "absent": {"not_measured": "there is no benchmarks/absent.py", "machine": MACHINE},
    },
}

SOME = {
    "fast": ChatSection("A fast server", Load(0, 64)),
    "slow": ChatSection("A slow server", Load(200, 64)),
    "lines": ProgramSection(
        "A program",
        "lines",
        limits=[
            Limit("cost_ms", 0.5, "cost of one", "ms", where={"adapter": "server"}),
            Limit("rows", 2_000_000, "rows", at_least=True),
        ],
    ),
    "absent": ProgramSection("Another", "absent"),
    "later": ProgramSection("A third", "later"),
}


def test_the_page_says_what_was_measured_wanted_and_written():
    text = page(RESULTS, SOME, {"fast": "Most of it is import.\n"})
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_a_page_of_nothing_says_that_nothing_was_measured():
    text = page({"machine": MACHINE, "versions": {}, "sections": {}}, SECTIONS, {})
    assert text.count("Not measured: not run yet.") == len(SECTIONS)
    assert "What was wanted" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3.0, "3"), (0.12345, "0.1235"), (12.345, "12.35"), (1234.56, "1,235"), (10_000, "10,000")],
)
def test_numbers_have_four_digits_and_thousands_commas(value, shown):
    assert number(value) == shown


def test_a_section_measured_anew_leaves_the_others():
    old = {"versions": {"Inspect": "0.3"}, "sections": {"a": {"data": 1}, "b": {"data": 2}}}
    new = merged(old, "b", {"data": 3, "versions": {"Inspect": "0.4"}}, MACHINE)
    assert new["sections"] == {"a": {"data": 1}, "b": {"data": 3, "machine": MACHINE}}
    assert new["versions"]["Inspect"] == "0.4"
    assert new["machine"] == MACHINE


def test_a_programs_output_is_read_line_by_line():
    text = 'loading\n{"a": 1}\n[{"b": 2}, {"c": 3}]\n'
    assert read_lines(text) == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_every_note_belongs_to_a_section():
    assert set(read_notes()) <= set(SECTIONS)


def test_an_unknown_section_is_refused(capsys):
    with pytest.raises(SystemExit):
        read_arguments(["chat_0ms", "nothing"])
    assert "no section nothing; there are chat_0ms" in capsys.readouterr().err
