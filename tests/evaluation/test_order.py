"""The order in which tasks are asked."""

import pytest

from evalkit.config.run_config import ModelEntry
from evalkit.data.options import DataOptions
from evalkit.evaluation.order import longest_answer, longest_first
from evalkit.evaluation.plan import Member, PlannedJob
from evalkit.tasks.catalogue import info
from evalkit.tasks.protocol import Prompting, TaskInfo, TaskRef


def job(name, max_tokens=None, mode="generate", model="scripted/a", sampling=None):
    return PlannedJob(
        member=Member(ModelEntry(model=model), object()),
        ref=TaskRef(name=name, kind="declarative"),
        info=TaskInfo(name=name, kind="declarative", max_tokens=max_tokens),
        prompting=Prompting(mode=mode, sampling=sampling or {}),
        limit=None,
        data=DataOptions(),
    )


def names(jobs):
    return [f"{one.member.label[-1]} {one.ref.name}" for one in jobs]


def test_long_answers_are_asked_for_first():
    jobs = [job("short", 16), job("choices", mode="loglikelihood"), job("open"), job("long", 2048)]
    assert names(longest_first(jobs)) == ["a open", "a long", "a short", "a choices"]


def test_tasks_of_one_length_stay_in_the_order_named():
    assert names(longest_first([job(name, 64) for name in "cab"])) == ["a c", "a a", "a b"]


def test_each_model_keeps_its_place():
    jobs = [job("short", 1, model="scripted/b"), job("short", 1), job("long", 9)]
    assert names(longest_first(jobs)) == ["b short", "a long", "a short"]


def test_what_the_user_sets_counts_before_the_tasks_own_limit():
    assert longest_answer(job("task", 2048, sampling={"max_tokens": 7})) == 7


@pytest.mark.parametrize(
    ("task", "tokens"),
    [("gsm8k", 256), ("ifeval", 1280), ("mmlu_abstract_algebra", None), ("human_eval", 2048)],
)
def test_the_limit_of_an_answer_is_known_without_rows(task, tokens):
    assert info(task).max_tokens == tokens
