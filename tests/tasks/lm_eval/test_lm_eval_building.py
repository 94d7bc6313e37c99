"""Prompts built the short way are those that lm-eval's own code builds, with less work."""

import os
import tracemalloc
from pathlib import Path

import datasets
import pytest

from evalkit.data.options import DataOptions
from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.lm_eval.contexts import is_steady
from evalkit.tasks.lm_eval.rows import Pool, RowReader
from evalkit.tasks.lm_eval.values import is_plain
from evalkit.tasks.protocol import Prompting

STYLES = {
    "text": Prompting(style="text"),
    "turns": Prompting(style="chat"),
    "one-turn": Prompting(style="chat", multiturn=False),
    "3-shot": Prompting(style="text", num_fewshot=3, system="Be brief."),
    "3-shot-turns": Prompting(style="chat", num_fewshot=3, system="Be brief."),
    "3-shot-one-turn": Prompting(style="chat", num_fewshot=3, multiturn=False),
}
NAMES = [
    "tiny_facts",
    "tiny_first",
    "tiny_within",
    "tiny_listed",
    "tiny_sums",
    "tiny_prefixed",
    "tiny_mutual",
    "tiny_shuffled",
]
#: Of different folders of lm-eval: templates and functions, all kinds of samplers and requests.
REAL = [
    *("gsm8k", "gsm8k_cot", "mmlu_anatomy", "mmlu_pro_law", "arc_challenge", "truthfulqa_mc2"),
    *("bbh_cot_fewshot_navigate", "mgsm_direct_de", "winogrande", "piqa", "triviaqa", "boolq"),
    *("commonsense_qa", "blimp_adjunct_island", "belebele_deu_Latn"),
    *("ceval-valid_accountant", "xcopa_et", "mc_taco", "lambada_openai", "humaneval_plus"),
]

DRAWN = """
task: drawn
include: {folder}/facts.yaml
doc_to_text: !function drawing.asked
num_fewshot: 2
"""
DRAWING = """
import random
calls = []
def asked(doc):
    calls.append(random.random())
    return f"Question: {doc['question']}\\nAnswer:"
"""
FROM_TRAIN = """
task: from_train
include: {folder}/facts.yaml
fewshot_split: train
fewshot_config: {{sampler: first_n}}
num_fewshot: 3
"""


@pytest.fixture
def load(definitions, data, tmp_path):
    def load(name, prompting, folders=(), data=data):
        [ref] = adapter.select([name], [definitions, *folders]).tasks
        return adapter.load(ref, prompting, data)

    return load


@pytest.fixture
def own_task(definitions, tmp_path, load):
    """Load a task from the text of its definition, which may include the tiny ones."""

    def make(name, text, prompting, code=""):
        folder = tmp_path / "own"
        folder.mkdir()
        (folder / f"{name}.yaml").write_text(text.format(folder=definitions))
        (folder / "drawing.py").write_text(code)
        return load(name, prompting, [folder])

    return make


def plainly(task):
    """The same task, its prompts built by lm-eval's own code."""
    task._contexts = task._draws = None
    return task


def asked(task, limit=None):
    return [list(task.requests(sample, ())) for sample in task.samples(limit)]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_those_of_lm_evals_own_code(load, name, style):
    quick, plain = load(name, STYLES[style]), plainly(load(name, STYLES[style]))
    assert quick._contexts is not None
    assert asked(quick) == asked(plain)


@pytest.mark.parametrize("name", ["tiny_pronouns", "tiny_python"])
def test_what_goes_its_own_way_is_built_by_lm_evals_code(load, name):
    assert load(name, Prompting(style="text"))._contexts is None


@pytest.fixture(scope="module")
def mirror():
    folder = Path(os.environ.get("EVALKIT_TEST_MIRROR") or Path.cwd().parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("needs a mirror of benchmark rows (EVALKIT_TEST_MIRROR)")
    return str(folder)


@pytest.mark.mirror
@pytest.mark.parametrize("name", REAL)
def test_prompts_of_real_tasks_are_those_of_lm_evals_own_code(mirror, tmp_path, name):
    [ref] = adapter.select([name]).tasks
    options = DataOptions(mirror=mirror, offline=True, cache=str(tmp_path))
    for style in ("text", "turns", "3-shot", "3-shot-one-turn"):
        quick, plain = (adapter.load(ref, STYLES[style], options) for _ in range(2))
        assert asked(quick, 12) == asked(plainly(plain), 12)


def test_a_worked_example_is_rendered_once(own_task, monkeypatch):
    task = own_task("from_train", FROM_TRAIN, Prompting())
    rendered, render = [], task._contexts._worked
    monkeypatch.setattr(task._contexts, "_worked", lambda row: rendered.append(row) or render(row))
    task._contexts._shots.clear()
    task._contexts._header = ((), None)
    asked(task)
    assert len(rendered) == 3


def test_documents_share_the_turns_of_their_worked_examples(own_task):
    one, *others = [
        requests[0].prompt for requests in asked(own_task("from_train", FROM_TRAIN, Prompting()))
    ]
    assert len(one) == 8  # the system's, three examples of two turns, the question
    for other in others:
        assert all(a is b for a, b in zip(one[1:-1], other[1:-1], strict=True))


def test_documents_share_the_turns_of_letters_too(own_task):
    task = own_task("from_train", FROM_TRAIN, Prompting(mode="letter"))
    one, *others = [requests[0].prompt for requests in asked(task)]
    for other in others:
        assert all(a is b for a, b in zip(one[1:-1], other[1:-1], strict=True))


def test_what_may_draw_is_rendered_for_every_document(own_task):
    task = own_task("drawn", DRAWN, Prompting(style="text"), DRAWING)
    calls = task._task.config.doc_to_text.__globals__["calls"]
    calls.clear()
    asked(task)
    assert len(calls) == 7 * 3  # each document, and two examples before it


@pytest.mark.parametrize("how", [None, 3, "{{question}}", ["A", "B"], is_plain])
def test_what_cannot_draw_is_steady(how):
    assert is_steady(how)


@pytest.mark.parametrize(
    "how", ["{{choices | random}}", len, is_steady], ids=["template", "builtin", "function"]
)
def test_what_may_draw_or_cannot_be_read_is_not(how):
    assert not is_steady(how)  # the file of `is_steady` names chance, to look for it


def test_loading_copies_no_split(load, monkeypatch):
    def refuse(self):
        raise AssertionError("a data set was read row by row")

    monkeypatch.setattr(datasets.Dataset, "__iter__", refuse)
    task = load("tiny_sums", Prompting(style="text"))
    assert isinstance(task._task.sampler.df, Pool)
    assert len(asked(task)) == 6


@pytest.fixture
def long_rows():
    texts = [f"{number} " + "x" * 2_000 for number in range(5_000)]
    return datasets.Dataset.from_dict({"text": texts, "choices": [["a", "b"]] * 5_000})


def test_reading_all_documents_holds_a_few_of_them(long_rows):
    reader = RowReader(long_rows)
    tracemalloc.start()
    try:
        for index in range(len(long_rows)):
            assert reader[index]["choices"] == ["a", "b"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000  # of 10 MB


@pytest.mark.parametrize("order", [range(200), range(199, -1, -1), (7, 7, 190, 3, 64, 63)])
def test_a_reader_gives_the_data_sets_own_rows(order):
    rows = [
        {"n": n, "who": {"name": str(n)}, "tags": [n] * (n % 3), "at": None} for n in range(200)
    ]
    docs = datasets.Dataset.from_list(rows)
    reader = RowReader(docs)
    assert [reader[index] for index in order] == [docs[index] for index in order]


def test_a_row_is_given_anew_each_time():
    reader = RowReader(datasets.Dataset.from_list([{"tags": ["a"]}, {"tags": ["b"]}]))
    reader[0]["tags"].append("mine")
    assert reader[0] == {"tags": ["a"]}


def test_a_pool_is_a_sequence_of_the_rows():
    rows = [{"n": n} for n in range(5)]
    pool = Pool(datasets.Dataset.from_list(rows))
    assert (len(pool), list(pool), pool[1:4], pool[-1]) == (5, rows, rows[1:4], rows[-1])
