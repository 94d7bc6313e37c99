"""lm-eval's tasks scored in other processes: the same scores, and right ones where alarms ring."""

import pickle
import threading

import msgspec
import pytest
from hash_model import rendered, say, weigh

from evalkit.data.options import DataOptions
from evalkit.engine.jobs import score_sample
from evalkit.engine.score_process import ScoreProcess
from evalkit.records import Response, canonical
from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.lm_eval import alarms
from evalkit.tasks.protocol import Prompting, TaskRef
from evalkit.tasks.recipe import TaskRecipe

#: Every kind of answer and of document: lists, pairs, texts, votes, a class, a whole-task filter.
TASKS = ("facts", "mutual", "last_words", "pages", "pairs", "pronouns", "python", "shuffled")
TASKS += ("sums", "voted", "prefixed", "alarmed", "custom")


def recipe_of(name, definitions, data, **prompting):
    [ref] = adapter.select([name], [definitions]).tasks
    return TaskRecipe(ref=ref, prompting=Prompting(style="text", **prompting), data=data)


def respond(request):
    prompt = rendered(request.prompt)
    if request.kind == "generate":
        return Response(text=say(prompt, request.repeat))
    weight, greedy = weigh(prompt, request.continuation)
    return Response(logprob=weight, greedy=greedy)


def answered(task):
    samples = list(task.samples(None))
    return [(s, tuple(respond(r) for r in task.requests(s, ()))) for s in samples]


@pytest.fixture(scope="module")
def process():
    made = ScoreProcess()
    yield made
    made.close()


@pytest.mark.parametrize("name", TASKS)
def test_a_score_does_not_depend_on_the_process(name, process, definitions, data):
    recipe = recipe_of(f"tiny_{name}", definitions, data)
    task = recipe.load()
    pairs = answered(task)
    if task.scores_together:
        here = task.score_all(pairs)
    else:
        here = [score_sample(task, sample, answers) for sample, answers in pairs]
    there = process.score(
        recipe, task.fingerprint, pairs, together=task.scores_together, limit_s=60
    ).scores
    assert canonical(there) == canonical(here)


def test_letters_too(process, definitions, data):
    recipe = recipe_of("tiny_facts", definitions, data, mode="letter")
    task = recipe.load()
    pairs = [(sample, (Response(text="I say B."),)) for sample in task.samples(None)]
    here = [score_sample(task, *pair) for pair in pairs]
    there = process.score(recipe, task.fingerprint, pairs, limit_s=60).scores
    assert there == [msgspec.convert(msgspec.to_builtins(score), type(score)) for score in here]


def test_a_scorer_with_an_alarm_says_the_right_thing_only_in_a_main_thread(
    process, definitions, data
):
    recipe = recipe_of("tiny_alarmed", definitions, data)
    task = recipe.load()
    [sample, *_] = task.samples(1)
    right = (Response(text="2"),)
    in_thread = []
    thread = threading.Thread(target=lambda: in_thread.append(task.score(sample, right)))
    thread.start()
    thread.join()
    assert in_thread[0].values == {"equal": 0}  # why such a task must not be scored in a thread
    [score] = process.score(recipe, task.fingerprint, [(sample, right)], limit_s=60).scores
    assert score.values == {"equal": 1}


@pytest.mark.parametrize(("name", "expected"), [("alarmed", True), ("sums", False)])
def test_a_task_says_that_it_sets_alarms(name, expected, definitions, data):
    task = recipe_of(f"tiny_{name}", definitions, data).load()
    assert task.info.main_thread is expected


SOURCES = {
    "itself": "import signal\ndef score(): signal.alarm(3)",
    "beside": "from helper import equal",
    "late": "def score():\n    from .helper import equal",
    "not": "import signal\nsignal.SIGTERM  # no alarm here",
}


@pytest.mark.parametrize(("name", "expected"), [*[(n, n != "not") for n in SOURCES]])
def test_alarms_are_found_in_what_is_imported(name, expected, tmp_path):
    (tmp_path / "helper.py").write_text("import signal\ndef equal(): signal.setitimer(0, 1)\n")
    file = tmp_path / f"{name}.py"
    file.write_text(SOURCES[name])
    assert alarms._mentions_alarms(str(file)) is expected


@pytest.mark.parametrize("seed", [Prompting().seed, int("1234"), 7])
def test_a_recipe_that_was_sent_names_the_same_task(seed):
    ref = TaskRef(name="x", kind="lm_eval")
    recipe = TaskRecipe(ref=ref, prompting=Prompting(seed=seed), data=DataOptions())
    assert canonical(pickle.loads(pickle.dumps(recipe))) == canonical(recipe)
