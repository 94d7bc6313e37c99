"""Sampled stacks are summed by thread, stage, package and function."""

from benchmarks.knee import highest_after, seconds_until
from benchmarks.profile_stacks import (
    by_function,
    by_leaf_package,
    by_stage,
    by_thread,
    read_stacks,
    table,
)

BOOTSTRAP = "_call (<frozen importlib._bootstrap>:241)"
COMMAND = "<module> (evalkit/__main__.py:5)"


def line(thread, *frames, count):
    """One line of py-spy's raw format."""
    return ";".join([thread, *frames]) + f" {count}"


STACKS = read_stacks(
    [
        line(
            "thread (0x1): MainThread",
            *(COMMAND, "post (evalkit/models/a.py:1)", "get (aiohttp/client.py:9)"),
            count=6,
        ),
        line(
            "thread (0x1): MainThread",
            *(COMMAND, BOOTSTRAP, "<module> (datasets/__init__.py:1)", "<module> (pandas/x.py:3)"),
            count=3,
        ),
        line(
            "thread (0x1): MainThread",
            *(COMMAND, BOOTSTRAP, "<module> (evalkit/cli/main.py:1)"),
            count=2,
        ),
        line(
            "thread (0x2): build-0",
            *("_run (threading.py:9)", "build (evalkit/tasks/b.py:7)"),
            *("build (evalkit/tasks/b.py:7)",),
            count=1,
        ),
    ]
)


def test_threads_of_a_pool_are_one():
    assert by_thread(STACKS) == {"MainThread": 11, "build": 1}


def test_a_stage_is_an_import_or_the_innermost_module():
    assert by_stage(STACKS) == {
        "evalkit/models/a.py": 6,
        "import datasets": 3,
        "import evalkit": 2,
        "evalkit/tasks/b.py": 1,
    }


def test_the_package_at_work_is_the_innermost():
    assert by_leaf_package(STACKS) == {"aiohttp": 6, "pandas": 3, "evalkit": 3}


def test_a_function_that_calls_itself_counts_once():
    assert by_function(STACKS, "evalkit")["evalkit/tasks/b.py:build"] == 1


def test_a_table_gives_seconds_and_shares():
    assert table("by thread", by_thread(STACKS), rate=2, most=1).splitlines() == [
        "by thread (6.00 s sampled)",
        "     5.50 s  91.7%  MainThread",
    ]


SEEN = [(0.0, 0), (1.0, 4), (2.0, 16), (3.0, 30), (4.0, 20), (5.0, 0)]


def test_a_server_is_full_after_the_time_from_the_first_request():
    assert seconds_until(SEEN, 16) == 1.0


def test_a_server_that_never_was_full_has_no_such_time():
    assert seconds_until(SEEN, 31) is None


def test_what_was_chosen_in_the_end_is_looked_for_in_the_end():
    assert (highest_after(SEEN, 0.25), highest_after(SEEN, 0.5)) == (20, 30)
