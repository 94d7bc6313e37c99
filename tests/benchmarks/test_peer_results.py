"""What evalkit, lm-eval and Inspect say at the end is read, and a wrong run is refused."""

import json

import pytest

from benchmarks.criteria import Criterion, chat_criteria
from benchmarks.peers import Command, Result, read_evalkit, read_inspect, read_lm_eval
from benchmarks.rounds import Load, WrongRun, check, medians, ratio, round_ratios
from benchmarks.workloads import TASK, accuracy, code_of, question, write_chat

GOOD = Result(8, 0.75)


def test_evalkits_scores_are_read():
    scores = [{"task": "other", "n": 1, "value": 0.0}, {"task": TASK, "n": 8, "value": 0.75}]
    assert read_evalkit({"scores": scores}) == GOOD


def test_lm_evals_results_are_read():
    results = {
        "results": {TASK: {"exact_match,code": 0.75, "exact_match_stderr,code": 0.1}},
        "n-samples": {TASK: {"original": 10, "effective": 8}},
    }
    assert read_lm_eval(results) == GOOD


def test_inspects_log_is_read():
    scores = [{"name": "pattern", "metrics": {"accuracy": {"value": 0.75}}}]
    results = {"total_samples": 9, "completed_samples": 8, "scores": scores}
    assert read_inspect({"status": "success", "results": results}) == GOOD


def test_a_run_of_inspect_that_failed_scored_nothing():
    assert read_inspect({"status": "error"}) == Result(0, 0.0)


def test_a_right_run_is_taken():
    check("x", GOOD, {"received": 8}, 8)


@pytest.mark.parametrize(
    ("result", "received", "words"),
    [
        (Result(7, 0.75), 8, "x scored 7 samples"),
        (Result(8, 0.875), 8, "at 0.875, not 8 at 0.75"),
        (GOOD, 7, "x sent 7 requests for 8 samples"),
    ],
)
def test_a_wrong_run_is_refused(result, received, words):
    with pytest.raises(WrongRun, match=words):
        check("x", result, {"received": received}, 8)


def test_every_harness_gets_the_same_questions(tmp_path):
    chat = write_chat(tmp_path, 5)
    rows = [json.loads(line) for line in chat.rows.read_text().splitlines()]
    assert [row["question"] for row in rows] == [question(n) for n in range(5)]
    assert sum(row["target"] in row["question"] for row in rows) / 5 == accuracy(5)
    assert str(chat.rows) in chat.inspect_task.read_text()
    assert str(chat.rows) in (tmp_path / f"{TASK}.yaml").read_text()


def test_a_question_ends_with_its_code():
    assert question(7).endswith(f"{code_of(7)}.")


def test_ratios_are_of_medians_and_of_rounds():
    ours, theirs = [{"wall_s": w} for w in (1, 2, 9)], [{"wall_s": w} for w in (4, 8, 10)]
    assert medians(ours) == {"wall_s": 2}
    assert ratio(ours, theirs) == 0.25
    assert round_ratios(ours, theirs) == [0.25, 0.25, 0.9]


def test_the_ideal_is_the_time_of_the_answers():
    assert Load(200, 64).ideal_s(5000) == 15.625


def criteria(latency_ms, runs, against_inspect=True):
    data = {"latency_ms": latency_ms, "concurrency": 64, "samples": 5000, "runs": runs}
    return chat_criteria(data, against_inspect)


def test_inspect_is_no_measure_where_the_answers_alone_take_longer():
    runs = {"evalkit": [{"wall_s": 16.0}], "Inspect": [{"wall_s": 80.0}]}
    assert [found.limit for found in criteria(200, runs)] == [20.1875, 0.1]
    assert [found.limit for found in criteria(200, runs, against_inspect=False)] == [20.1875]


def test_without_latency_the_peers_are_the_measure():
    runs = {"evalkit": [{"wall_s": 2.0}], "lm-eval": [{"wall_s": 10.0}]}
    found = criteria(0, runs)
    assert found == [Criterion("wall time as a share of lm-eval's", 0.2, 0.25)]


def test_with_latency_the_ideal_is_the_measure():
    runs = {"evalkit": [{"wall_s": 21.0}]}
    (found,) = criteria(200, runs)
    assert (found.value, found.limit, found.met) == (21.0, 20.1875, False)


def test_a_command_is_shown_as_one_types_it():
    command = Command(("/opt/bin/x", "run", "a?b&c"), {"KEY": "k", "PYTHONPATH": ""})
    assert command.shown() == 'KEY=k x run "a?b&c"'
