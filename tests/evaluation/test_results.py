from types import SimpleNamespace

import msgspec

from evalkit.evaluation.results import group_rows, scored_only, task_rows
from evalkit.evaluation.tally import Tally
from evalkit.records import Aggregate, Response, Score, Usage
from evalkit.runs import ScoreRow
from evalkit.stats import estimate_mean
from evalkit.tasks.protocol import Group, GroupMetric, Prompting, TaskInfo


def mean_of(scores):
    estimate = estimate_mean([score.values["acc"] for score in scores])
    return [Aggregate(metric="acc", value=estimate.value, n=estimate.n, stderr=estimate.stderr)]


TASK = SimpleNamespace(
    info=TaskInfo(name="t", kind="declarative", num_fewshot=3),
    prompting=Prompting(style="chat"),
    aggregate=mean_of,
)


def rows(*statuses, max_errors=0.01):
    lost = ("error", "unscored")
    scores = [Score(status=s, values={} if s in lost else {"acc": 1.0}) for s in statuses]
    tally = Tally("m", "t", "letter", lambda usage: None)
    for score in scores:
        tally.add([], [], score)
    return task_rows(TASK, tally, scores, max_errors)


def test_infrastructure_errors_are_left_out_of_the_mean_and_counted():
    (row,) = rows("ok", "ok", "error")
    assert (row.value, row.n, row.total, row.failed) == (1.0, 2, 3, 1)


def test_what_the_model_did_stays_in_the_mean_and_is_counted():
    (row,) = rows("ok", "unparsed", "truncated", "refused", "filtered")
    assert row.n == row.total == 5
    assert (row.unparsed, row.truncated, row.refused, row.filtered) == (1, 1, 1, 1)


def test_a_result_is_valid_up_to_the_errors_that_the_run_allows():
    assert rows(*["ok"] * 99, "error")[0].valid is True
    assert rows(*["ok"] * 98, "error", "error")[0].valid is False
    assert rows(*["ok"] * 98, "error", "unscored")[0].valid is False


def test_no_score_is_given_where_nothing_was_scored():
    assert rows("error", "unscored") == []


def test_a_score_says_its_mode_style_and_shots():
    (row,) = rows("ok")
    assert (row.mode, row.style, row.num_fewshot) == ("letter", "chat", 3)


def test_only_scored_samples_reach_an_aggregation():
    scores = [Score(status="error"), Score(), Score(status="unscored"), Score(status="unparsed")]
    assert [score.status for score in scored_only(scores)] == ["ok", "unparsed"]


def test_costs_are_added_answer_by_answer():
    tally = Tally("m", "t", "generate", lambda usage: 0.5 if usage.input_tokens else None)
    paid = Response(usage=Usage(input_tokens=1))
    tally.add([], [paid, paid, Response()], Score())
    assert tally.row().cost_usd == 1.0


def test_many_different_failures_keep_the_notes_few():
    tally = Tally("m", "t", "generate", lambda usage: None)
    for index in range(100):
        tally.add([], [], Score(status="error", note=f"failure {index}"))
    assert len(tally.notes) <= 21
    assert sum(tally.notes.values()) == 100


GROUP = Group(name="g", members=("a", "b"), metrics=(GroupMetric(metric="acc"),))
MEAN = [Aggregate(metric="acc", value=0.5, n=4)]


def row(task, **changes):
    base = ScoreRow(
        model="m", task=task, metric="acc", value=0.5, mode="letter", style="chat", n=2, total=2
    )
    return msgspec.structs.replace(base, **changes)


def test_a_group_counts_its_members_samples():
    (made,) = group_rows(GROUP, [row("a"), row("b", failed=1, total=3)], MEAN)
    assert (made.task, made.group, made.n, made.total, made.failed) == ("g", True, 4, 5, 1)


def test_modes_are_never_averaged():
    assert group_rows(GROUP, [row("a"), row("b", mode="loglikelihood")], MEAN) == []


def test_styles_are_never_averaged():
    assert group_rows(GROUP, [row("a"), row("b", style="text")], MEAN) == []


def test_mixed_shots_are_said():
    (made,) = group_rows(GROUP, [row("a"), row("b", num_fewshot=5)], MEAN)
    assert made.num_fewshot is None


def test_a_group_with_a_missing_or_invalid_member_is_invalid():
    assert group_rows(GROUP, [row("a")], MEAN)[0].valid is False
    assert group_rows(GROUP, [row("a"), row("b", valid=False)], MEAN)[0].valid is False
    assert group_rows(GROUP, [row("a"), row("b")], MEAN)[0].valid is True
