import json

import pytest
from command import evalkit, scores, sums

CODE = """
name: programs
version: "1"
source: {file: rows.jsonl}
prompt: "{{ prompt }}"
target: entry
scorer: {name: code}
"""


@pytest.fixture
def tasks(tmp_path):
    folder = sums(tmp_path / "tasks", 3)
    (folder / "programs.yaml").write_text(CODE)
    row = {"prompt": "def one():\n", "test": "def check(f): assert f() == 1", "entry": "one"}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "suites").mkdir()
    (folder / "suites" / "both.yaml").write_text("name: both\ntasks: [programs, sums]\n")
    return folder


def run(tasks, *args):
    # nothing on the search path and no package of it: there is no sandbox to be found
    return evalkit(
        "run", "-m", "scripted/echo", "--include-path", tasks, *args, EVALKIT_BWRAP="/no"
    )


def test_a_task_of_a_suite_that_needs_a_missing_sandbox_is_skipped_and_said(tasks, tmp_path):
    ended = run(tasks, "-s", "both", "--output", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert "programs was skipped" in ended.stdout
    assert [row["task"] for row in scores(tmp_path / "out")] == ["sums"]


def test_a_named_task_that_needs_a_missing_sandbox_is_refused(tasks, tmp_path):
    ended = run(tasks, "-t", "programs", "--output", tmp_path / "out")
    assert ended.returncode == 2
    assert "sandbox" in ended.stderr
