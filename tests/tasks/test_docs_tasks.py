"""The files that docs/tasks.md shows work as shown."""

import re
import sys
from pathlib import Path

import pytest

from evalkit.data.options import DataOptions
from evalkit.records import Response, Sample
from evalkit.scoring.registry import scorer_names
from evalkit.tasks.catalogue import load, select
from evalkit.tasks.own.definition import TaskDefinition
from evalkit.tasks.protocol import Prompting
from evalkit.tasks.suites import load_suite

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "answer", "value"),
    [
        ("capitals", [Response(text="Paris.")], {"exact_match": 1.0}),
        (
            "choices",
            [Response(logprob=p) for p in (-3.0, -1.0, -2.0)],
            {"acc": 1.0, "acc_norm": 1.0},
        ),
        ("sums", [Response(text="no")], {"exact_match": 0.0}),
    ],
)
def test_the_shown_tasks_run(folder, name, answer, value):
    ref = select([str(folder / f"{name}.yaml")]).tasks[0]
    task = load(ref, Prompting(), DataOptions(cache=str(folder / "cache")))
    sample = next(task.samples(1))
    assert len(task.requests(sample, ())) == len(answer)
    assert task.score(sample, answer).values == value


def test_the_shown_suite_is_read(folder):
    assert [entry.task for entry in load_suite("mine", [folder]).tasks] == [
        "needle_small",
        "human_eval",
        "mmlu",
    ]


def test_the_shown_scorer_scores(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    import rhymes

    sample = Sample(id="0", index=0, doc={}, target="moon")
    score = rhymes.SCORER.score(sample, [Response(text="June, spoon")], rhymes.RhymeParams())
    assert score.values == {"rhymes": 1.0}
    del sys.modules["rhymes"]


def test_every_key_is_explained():
    for key in TaskDefinition.__struct_fields__:
        assert f"`{key}`" in PAGE


def test_every_scorer_is_listed():
    for name in scorer_names():
        assert f"| `{name}` |" in PAGE
