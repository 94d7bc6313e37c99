"""The same prompts, scores and aggregates as lm-eval's own evaluator, on the same rows."""

import math
import random
import warnings

import numpy as np
import pytest
from hash_model import HashModel, answer, rendered

from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.lm_eval.aggregation import aggregate_group
from evalkit.tasks.protocol import Prompting

TEXT, TURNS, ONE_TURN = (
    Prompting(style="text"),
    Prompting(style="chat"),
    Prompting(style="chat", multiturn=False),
)
STYLES = pytest.mark.parametrize(
    "prompting", [TEXT, TURNS, ONE_TURN], ids=["text", "turns", "one-turn"]
)


def reference(definitions, name, prompting):
    """lm-eval's own evaluation of a name, with the seeds and settings of its command line."""
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    random.seed(0)
    np.random.seed(1234)
    manager = TaskManager(include_path=str(definitions), include_defaults=False)
    loaded = manager.load([name])
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if prompting.num_fewshot is not None and own != 0:
            task.set_config(key="num_fewshot", value=prompting.num_fewshot)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=1234)
    chat = prompting.style == "chat"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return evaluate(
            lm=HashModel(),
            task_dict=loaded,
            system_instruction=prompting.system or None,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat and prompting.multiturn is not False,
            bootstrap_iters=100,  # compared by itself, in test_lm_eval_bootstrap
        )


def ours(definitions, data, name, prompting):
    """Our tasks of a name with their samples, requests and scores."""
    chosen = adapter.select([name], [definitions])
    tasks = {ref.name: adapter.load(ref, prompting, data) for ref in chosen.tasks}
    asked = {
        name: [(s, task.requests(s, ())) for s in task.samples(None)]
        for name, task in tasks.items()
    }
    return chosen, tasks, asked


def scored(task, asked):
    answered = [(sample, [answer(r) for r in requests]) for sample, requests in asked]
    if task.scores_together:
        return task.score_all(answered)
    return [task.score(sample, answers) for sample, answers in answered]


def logged(samples):
    """lm-eval's log as ours: prompts and metrics by document."""
    prompts, values = {}, {}
    for row in samples:
        prompts[row["doc_id"]] = row["arguments"]
        key = "" if row["filter"] == "none" else f",{row['filter']}"
        found = {f"{metric}{key}": row[metric] for metric in row["metrics"]}
        values.setdefault(row["doc_id"], {}).update(found)
    return prompts, values


def check(definitions, data, name, prompting):
    theirs = reference(definitions, name, prompting)
    chosen, tasks, asked = ours(definitions, data, name, prompting)
    aggregates = {}
    for task_name, task in tasks.items():
        prompts, values = logged(theirs["samples"][task_name])
        scores = scored(task, asked[task_name])
        for (sample, requests), score in zip(asked[task_name], scores, strict=True):
            check_prompts(prompts[sample.index], requests)
            check_values(values[sample.index], score.values)
        aggregates[task_name] = task.aggregate(scores)
        check_aggregates(theirs["results"][task_name], aggregates[task_name])
    return theirs, chosen, aggregates


def check_prompts(arguments, requests):
    first = [request for request in requests if request.repeat == 0]
    assert [rendered(r.prompt) for r in first] == [given[0] for given in arguments]
    for request, given in zip(first, arguments, strict=True):
        if request.kind == "loglikelihood":
            assert request.continuation == given[1]


def check_values(theirs, ours):
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        np.testing.assert_allclose(flat(ours[key]), flat(value), rtol=1e-12)


def flat(value):
    return np.hstack(
        [
            np.ravel(np.asarray(part, dtype=float))
            for part in np.atleast_1d(np.asarray(value, dtype=object))
        ]
    )


#: Where lm-eval gives no error, and where it resamples.
ERRORS_OF_OURS = ("word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score")
RESAMPLED = ("perplexity", "f1", "mcc")


def check_aggregates(theirs, aggregates):
    for each in aggregates:
        key = each.filter or "none"
        assert each.value == pytest.approx(theirs[f"{each.metric},{key}"], rel=1e-12)
        stderr = theirs[f"{each.metric}_stderr,{key}"]
        assert (stderr == "N/A") == (each.stderr is None or each.metric in ERRORS_OF_OURS)
        if stderr != "N/A" and each.metric not in RESAMPLED:
            assert each.stderr == pytest.approx(stderr, rel=1e-9)


@STYLES
@pytest.mark.parametrize("shots", [None, 2])
@pytest.mark.parametrize(
    "name",
    [
        "tiny_facts",
        "tiny_mutual",
        "tiny_listed",
        "tiny_first",
        "tiny_within",
        "tiny_pronouns",
        "tiny_last_words",
        "tiny_pages",
        "tiny_sums",
        "tiny_prefixed",
        "tiny_voted",
        "tiny_custom",
        "tiny_pairs",
    ],
)
def test_a_task_is_asked_and_scored_as_by_lm_eval(definitions, data, name, shots, prompting):
    setting = Prompting(style=prompting.style, multiturn=prompting.multiturn, num_fewshot=shots)
    check(definitions, data, name, setting)


@STYLES
def test_a_python_class_with_two_kinds_of_requests(definitions, data, prompting):
    check(definitions, data, "tiny_python", prompting)


@STYLES
def test_a_system_instruction_comes_before_the_description(definitions, data, prompting):
    setting = Prompting(
        style=prompting.style, multiturn=prompting.multiturn, system="Be brief.", num_fewshot=1
    )
    check(definitions, data, "tiny_facts", setting)


def test_a_task_that_shuffles_while_it_is_built(definitions, data):
    # lm-eval draws anew when it scores, so that only what it asks can be compared
    theirs = reference(definitions, "tiny_shuffled", TEXT)
    _, _, asked = ours(definitions, data, "tiny_shuffled", TEXT)
    rows = {row["doc_id"]: row["arguments"] for row in theirs["samples"]["tiny_shuffled"]}
    for sample, requests in asked["tiny_shuffled"]:
        check_prompts(rows[sample.index], requests)


@STYLES
def test_a_group_with_overrides_subgroups_tags_and_an_inline_task(definitions, data, prompting):
    theirs, chosen, aggregates = check(definitions, data, "tiny_group", prompting)
    for group in chosen.groups:
        for each in aggregate_group(group, aggregates):
            value = theirs["results"][group.name][f"{each.metric},{each.filter or 'none'}"]
            assert each.value == pytest.approx(value, rel=1e-12)


def test_an_unweighted_groups_error_is_lm_evals(definitions, data):
    theirs, chosen, aggregates = check(definitions, data, "tiny_group", TEXT)
    group = next(g for g in chosen.groups if g.name == "tiny_group")
    [norm] = [a for a in aggregate_group(group, aggregates) if a.metric == "acc_norm"]
    assert norm.stderr == pytest.approx(theirs["results"]["tiny_group"]["acc_norm_stderr,none"])


def test_a_weighted_groups_error_weighs_each_members_own(definitions, data):
    _, chosen, aggregates = check(definitions, data, "tiny_group", TEXT)
    group = next(g for g in chosen.groups if g.name == "tiny_group")
    [acc] = [a for a in aggregate_group(group, aggregates) if a.metric == "acc"]
    parts = [a for each in aggregates.values() for a in each if a.metric == "acc"]
    expected = math.sqrt(sum((a.n * a.stderr) ** 2 for a in parts)) / sum(a.n for a in parts)
    assert acc.stderr == pytest.approx(expected)
