"""What the adapter does beyond lm-eval: statuses, refusals, order, identity."""

import random

import pytest
from hash_model import answer

from evalkit.errors import ConfigError, DataError, EvalkitError, UnsupportedError
from evalkit.records import Response, Score
from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.protocol import Prompting

CHAT, TEXT = Prompting(style="chat"), Prompting(style="text")


@pytest.fixture
def load(definitions, data):
    def load(name, prompting=TEXT):
        [ref] = adapter.select([name], [definitions]).tasks
        return adapter.load(ref, prompting, data)

    return load


def first(task):
    return next(task.samples(1))


def test_samples_come_in_the_order_of_the_rows(load):
    samples = list(load("tiny_facts").samples(None))
    assert [s.index for s in samples] == list(range(7))
    assert samples[0].doc["question"] == "Which month comes after April?"


@pytest.mark.parametrize(("limit", "size"), [(None, 7), (3, 3), (0.5, 4), (99, 7)])
def test_a_limit_keeps_the_first(load, limit, size):
    task = load("tiny_facts")
    assert task.size(limit) == len(list(task.samples(limit))) == size


def test_worked_examples_do_not_depend_on_the_order_of_asking(load):
    setting = Prompting(style="text", num_fewshot=3)
    task = load("tiny_facts", setting)
    samples = list(task.samples(None))
    expected = [task.requests(sample, ()) for sample in samples]
    shuffled = random.Random(3).sample(samples, len(samples))
    assert [task.requests(s, ()) for s in shuffled] == [expected[s.index] for s in shuffled]


def test_another_seed_draws_other_examples(load):
    one, other = (load("tiny_facts", Prompting(num_fewshot=3, seed=seed)) for seed in (1, 2))
    assert one.requests(first(one), ()) != other.requests(first(other), ())


def test_the_conversation_ends_with_the_begun_answer(load):
    task = load("tiny_prefixed", CHAT)
    [request] = task.requests(first(task), ())
    assert [turn.role for turn in request.prompt][-3:] == ["assistant", "user", "assistant"]
    assert request.prompt[-1].content == "The answer is"


def test_a_task_without_a_limit_states_lm_evals(load):
    task = load("tiny_sums")
    [request] = task.requests(first(task), ())
    assert (request.sampling.max_tokens, request.sampling.stop) == (256, ("Q:", "</s>"))


def test_drawn_answers_are_asked_for_one_by_one(load):
    task = load("tiny_voted")
    assert [r.repeat for r in task.requests(first(task), ())] == [0, 1, 2, 3]


def test_greedy_repeats_are_one_request(load):
    task = load("tiny_voted", Prompting(style="text", sampling={"temperature": 0.0}))
    sample = first(task)
    requests = task.requests(sample, ())
    score = task.score(sample, [Response(text=f"It is {sample.target}")])
    assert (len(requests), score.values["exact_match,vote"]) == (1, 1.0)


def test_nothing_is_asked_after_the_answers(load):
    task = load("tiny_sums")
    assert not task.requests(first(task), [Response(text="4")])


def test_an_answer_that_no_filter_finds_is_unparsed_and_wrong(load):
    task = load("tiny_sums")
    score = task.score(first(task), [Response(text="no idea")])
    assert (score.status, set(score.values.values())) == ("unparsed", {0.0})


def test_an_answer_that_one_filter_finds_is_parsed(load):
    task = load("tiny_sums")
    score = task.score(first(task), [Response(text="It is 9 I think")])
    assert (score.status, score.extracted) == ("ok", {"strict": "[invalid]", "flexible": "9"})


@pytest.mark.parametrize("status", ["truncated", "refused", "filtered"])
def test_an_answers_own_status_stays(load, status):
    task = load("tiny_sums")
    assert task.score(first(task), [Response(text="", status=status)]).status == status


def test_the_likeliest_choice_is_what_was_read(load):
    task = load("tiny_facts")
    sample = first(task)
    answers = [Response(logprob=-float(i != 2), greedy=False) for i in range(4)]
    assert task.score(sample, answers).extracted == 2


def test_an_answer_without_its_log_likelihood_is_unscored(load):
    task = load("tiny_facts")
    score = task.score(first(task), [Response(text="B")] * 4)
    assert (score.status, score.values) == ("unscored", {})
    assert "log-likelihood" in score.note


def test_too_few_answers_are_unscored(load):
    task = load("tiny_facts")
    assert task.score(first(task), [Response(logprob=-1.0)] * 3).status == "unscored"


def test_errors_and_unscored_samples_are_in_no_mean(load):
    task = load("tiny_facts")
    scores = [Score(values={"acc": 1.0}), Score(status="unscored"), Score(status="error")]
    [acc] = task.aggregate(scores)
    assert (acc.value, acc.n) == (1.0, 1)


def test_scores_survive_json(load):
    import msgspec

    task = load("tiny_pairs")
    scores = [task.score(s, [answer(r) for r in task.requests(s, ())]) for s in task.samples(None)]
    again = msgspec.json.decode(msgspec.json.encode(scores), type=list[Score])
    assert task.aggregate(again) == task.aggregate(scores)


def test_each_metric_has_its_own_denominator(load):
    task = load("tiny_python")
    scores = [task.score(s, [answer(r) for r in task.requests(s, ())]) for s in task.samples(None)]
    assert {a.metric: a.n for a in task.aggregate(scores)} == {"exact": 7, "none": 5}


def test_a_filter_over_all_responses_scores_together(load):
    assert load("tiny_custom").scores_together
    assert not load("tiny_voted").scores_together


def test_a_task_that_says_no_examples_gets_none(load):
    assert load("tiny_listed", Prompting(num_fewshot=5)).info.num_fewshot == 0


def test_the_fingerprint_is_the_same_each_time(load):
    assert load("tiny_facts").fingerprint == load("tiny_facts").fingerprint


@pytest.mark.parametrize("other", [CHAT, Prompting(style="text", num_fewshot=1)])
def test_the_fingerprint_knows_how_the_task_is_asked(load, other):
    assert load("tiny_facts").fingerprint != load("tiny_facts", other).fingerprint


def test_the_fingerprint_knows_a_groups_overrides(definitions, data, load):
    inside = next(
        ref
        for ref in adapter.select(["tiny_group"], [definitions]).tasks
        if ref.name == "tiny_facts"
    )
    setting = Prompting(style="text", num_fewshot=3)
    overridden = adapter.load(inside, TEXT, data)
    assert overridden.info.num_fewshot == 3
    assert overridden.fingerprint != load("tiny_facts", setting).fingerprint


def test_the_fingerprint_knows_the_code_that_a_definition_names(definitions, data, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(definitions, folder)
    one = adapter.select(["tiny_shuffled"], [folder]).tasks[0]
    before = adapter.load(one, TEXT, data).fingerprint
    with (folder / "tiny.py").open("a") as file:
        file.write("\nMORE = 1\n")
    from evalkit.tasks.lm_eval import fingerprint

    fingerprint._source_hash.cache_clear()
    assert adapter.load(one, TEXT, data).fingerprint != before


def test_other_rows_have_another_name(definitions, data, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(definitions, folder)
    file = folder / "facts.yaml"
    file.write_text(file.read_text().replace(str(definitions), str(folder)))
    (folder / "facts_test.jsonl").write_text((folder / "facts_train.jsonl").read_text())
    named = [
        adapter.load(adapter.select(["tiny_facts"], [f]).tasks[0], TEXT, data).data_fingerprint()
        for f in (definitions, folder)
    ]
    assert named[0] != named[1]


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("tiny_last_words", "letter", "needs log-likelihoods"),
        ("tiny_pages", "generate", "needs log-likelihoods"),
        ("tiny_sums", "loglikelihood", "needs free text"),
    ],
)
def test_a_mode_that_a_task_has_not_is_refused_with_the_reason(load, name, mode, reason):
    with pytest.raises(UnsupportedError, match=reason):
        load(name, Prompting(mode=mode))


@pytest.mark.parametrize(
    ("line", "reason"),
    [("unsafe_code: true", "without a sandbox"), ("doc_to_image: picture", "text only")],
)
def test_what_cannot_be_run_here_is_refused(tmp_path, data, line, reason):
    (tmp_path / "t.yaml").write_text(f"task: t\ndataset_path: none/none\n{line}\n")
    [ref] = adapter.select(["t"], [tmp_path]).tasks
    with pytest.raises(UnsupportedError, match=reason):
        adapter.load(ref, TEXT, data)


def test_missing_rows_are_a_data_error(tmp_path, data):
    (tmp_path / "t.yaml").write_text("task: t\ndataset_path: nobody/nothing\ntest_split: test\n")
    [ref] = adapter.select(["t"], [tmp_path]).tasks
    with pytest.raises(DataError, match="nobody/nothing"):
        adapter.load(ref, TEXT, data)


def test_a_wrong_definition_is_named_with_its_file(tmp_path, data):
    (tmp_path / "t.yaml").write_text("task: t\noutput_type: telepathy\n")
    [ref] = adapter.select(["t"], [tmp_path]).tasks
    with pytest.raises(ConfigError, match=r"t\.yaml.*telepathy"):
        adapter.load(ref, TEXT, data)


def test_a_prompt_that_lm_eval_cannot_build_is_refused(tmp_path, data, definitions):
    (tmp_path / "t.yaml").write_text(
        f"include: {definitions}/facts.yaml\ntask: t\ndoc_to_target: '{{{{[label]}}}}'\n"
    )
    [ref] = adapter.select(["t"], [tmp_path]).tasks
    with pytest.raises(UnsupportedError, match="1 worked examples"):
        adapter.load(ref, Prompting(num_fewshot=1), data)


def test_a_metric_that_only_the_hub_has_is_refused_offline(tmp_path, data, definitions):
    (tmp_path / "t.yaml").write_text(
        f"include: {definitions}/sums.yaml\ntask: t\n"
        "metric_list: [{metric: rouge, aggregation: mean, higher_is_better: true}]\n"
    )
    [ref] = adapter.select(["t"], [tmp_path]).tasks
    with pytest.raises(DataError, match="rouge"):
        adapter.load(ref, TEXT, data)


def test_an_aggregation_that_fails_is_named(load):
    task = load("tiny_custom")
    with pytest.raises(EvalkitError, match="exact_match"):
        task.aggregate([Score(values={"exact_match": "x"})])


def test_global_random_numbers_are_left_as_they_were(load):
    random.seed(99)
    expected = random.Random(99).random()
    load("tiny_shuffled")
    assert random.random() == expected
