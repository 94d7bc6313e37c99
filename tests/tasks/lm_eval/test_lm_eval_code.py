"""lm-eval's code tasks, with programs run in the sandbox."""

import os
from pathlib import Path

import pytest

from evalkit.data.options import DataOptions
from evalkit.records import Response
from evalkit.scoring.sandbox import available
from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.lm_eval.code_eval import SandboxedCodeEval, runs_in_sandbox
from evalkit.tasks.protocol import Prompting

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(available() is not None, reason=str(available())),
]
TEST = "assert add(2, 3) == 5"
RIGHT, WRONG = "def add(a, b): return a + b", "def add(a, b): return a * b"


@pytest.fixture
def mirror():
    folder = Path(os.environ.get("EVALKIT_TEST_MIRROR") or Path.cwd().parent / "shared" / "data")
    if not (folder / "MANIFEST.jsonl").is_file():
        pytest.skip("needs a mirror of benchmark rows (EVALKIT_TEST_MIRROR)")
    return folder


def test_a_right_program_passes_and_a_wrong_one_does_not():
    scores, passed = SandboxedCodeEval().compute([TEST], [[RIGHT, WRONG]], k=[1, 2])
    assert (scores, passed) == ({"pass@1": 0.5, "pass@2": 1.0}, {0: [True, False]})


def test_a_program_that_only_says_that_it_passed_does_not():
    liar = "import os\nos._exit(0)"
    assert SandboxedCodeEval().compute([TEST], [[liar]], k=[1])[0] == {"pass@1": 0.0}


def test_k_beyond_the_number_of_answers_is_left_out():
    assert SandboxedCodeEval().compute([TEST], [[RIGHT]], k=[1, 10])[0] == {"pass@1": 1.0}


def test_other_tasks_that_run_code_have_no_sandbox():
    assert not runs_in_sandbox(Path("/lm_eval/tasks/longproc/x.yaml"))
    assert not runs_in_sandbox(Path("/mine/humaneval/x.yaml"))


@pytest.mark.mirror
@pytest.mark.parametrize(("name", "field"), [("humaneval", "canonical_solution"), ("mbpp", "code")])
def test_the_authors_solution_passes(mirror, tmp_path, name, field):
    [ref] = adapter.select([name]).tasks
    data = DataOptions(mirror=str(mirror), offline=True, cache=str(tmp_path))
    task = adapter.load(ref, Prompting(style="text"), data)
    answered = [(s, [Response(text=s.doc[field])]) for s in task.samples(2)]
    answered.append((answered[0][0], [Response(text="    return None")]))
    scores = (
        task.score_all(answered)
        if task.scores_together
        else [task.score(*each) for each in answered]
    )
    values = [next(iter(score.values.values())) for score in scores]
    assert (values, task.info.heavy_scoring) == ([1.0, 1.0, 0.0], True)
