"""Multiple choice asked by letter."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import UnsupportedError
from evalkit.records import Response
from evalkit.tasks import lm_eval as adapter
from evalkit.tasks.lm_eval.letter import (
    _CUE,
    _CUE_LINE,
    _are_listed,
    _without_cue,
    question_of,
    right_places,
)
from evalkit.tasks.protocol import Prompting


@pytest.fixture
def load(definitions, data):
    def load(name, **setting):
        [ref] = adapter.select([name], [definitions]).tasks
        return adapter.load(ref, Prompting(mode="letter", **setting), data)

    return load


def question(task, index=0):
    return question_of(task._task, task._docs[index], task.prompting.seed)


def test_it_is_labelled_with_its_mode(load):
    assert load("tiny_facts").mode == "letter"


def test_choices_are_listed_under_letters_and_the_cue_is_gone(load):
    task = load("tiny_facts")
    sample = next(task.samples(1))
    [request] = task.requests(sample, ())
    system, asked = request.prompt
    assert system.content == "Questions about time."
    assert "Answer:" not in asked.content
    assert sorted(line[3:] for line in asked.content.splitlines() if line[1:3] == ". ") == [
        "July",
        "June",
        "March",
        "May",
    ]


def test_the_right_letter_stands_before_the_right_choice(load):
    task = load("tiny_facts")
    for sample in task.samples(None):
        read = question(task, sample.index)
        [letter] = read.right
        assert read.choices[read.letters.index(letter)] == sample.doc["answer"]


def test_the_right_choice_does_not_keep_its_place(load):
    task = load("tiny_pronouns")
    assert {question(task, s.index).right for s in task.samples(None)} == {("A",), ("B",)}


def test_choices_that_the_question_lists_are_not_listed_again(load):
    task = load("tiny_listed")
    [request] = task.requests(next(task.samples(1)), ())
    assert request.prompt[-1].content.count("A. ") == 1
    assert question(task).right == ("A",)


def test_beginnings_with_one_end_are_whole_sentences(load):
    assert all(c.endswith("was too big.") for c in question(load("tiny_pronouns")).choices)


def test_worked_examples_are_turns_with_letters(load):
    task = load("tiny_facts", num_fewshot=2)
    [request] = task.requests(next(task.samples(1)), ())
    roles = [turn.role for turn in request.prompt]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert {request.prompt[2].content, request.prompt[4].content} <= set("ABCD")


def test_worked_examples_may_stand_in_one_turn(load):
    task = load("tiny_facts", num_fewshot=2, multiturn=False)
    [request] = task.requests(next(task.samples(1)), ())
    assert [turn.role for turn in request.prompt] == ["system", "user"]


def test_a_text_model_is_given_the_cue(load):
    task = load("tiny_facts", style="text", num_fewshot=1)
    [request] = task.requests(next(task.samples(1)), ())
    assert request.prompt.endswith("Answer:")
    assert request.sampling.stop == ("\n",)


def test_the_examples_are_those_that_lm_eval_draws(load, definitions, data):
    letter = load("tiny_facts", num_fewshot=2, multiturn=True)
    [ref] = adapter.select(["tiny_facts"], [definitions]).tasks
    plain = adapter.load(ref, Prompting(num_fewshot=2), data)
    for sample in letter.samples(None):
        [ours] = letter.requests(sample, ())
        theirs = plain.requests(sample, ())[0]
        shown = [turn.content.splitlines()[0] for turn in ours.prompt if turn.role == "user"]
        asked = [turn.content.splitlines()[0] for turn in theirs.prompt if turn.role == "user"]
        assert shown == asked


def test_a_right_letter_scores(load):
    task = load("tiny_facts")
    sample = next(task.samples(1))
    [letter] = question(task).right
    score = task.score(sample, [Response(text=f"The answer is ({letter}).")])
    assert (score.values, score.status, score.extracted) == ({"acc": 1.0}, "ok", letter)


def test_an_answer_without_a_letter_is_wrong_and_unparsed(load):
    task = load("tiny_facts")
    score = task.score(next(task.samples(1)), [Response(text="Hard to say.")])
    assert (score.values, score.status) == ({"acc": 0.0}, "unparsed")


def test_a_row_without_a_right_choice_is_unscored(tmp_path, definitions, data):
    (tmp_path / "t.yaml").write_text(
        f"include: {definitions}/facts.yaml\ntask: t\ndoc_to_target: topic\n"
    )
    [ref] = adapter.select(["t"], [tmp_path]).tasks
    task = adapter.load(ref, Prompting(mode="letter"), data)
    assert task.score(next(task.samples(1)), [Response(text="A")]).status == "unscored"


def test_a_refusal_stays_a_refusal(load):
    task = load("tiny_facts")
    assert task.score(next(task.samples(1)), [Response(status="refused")]).status == "refused"


def test_the_only_metric_is_accuracy(load):
    task = load("tiny_facts")
    scores = [task.score(s, [Response(text="A")]) for s in task.samples(None)]
    [acc] = task.aggregate(scores)
    assert (acc.metric, acc.n) == ("acc", 7)


@pytest.mark.parametrize(
    ("target", "places"), [(1, [1]), ("b", [1]), ([0, 2], [0, 2]), ("z", []), (9, []), (-1, [])]
)
def test_a_target_is_a_place_a_text_or_several(target, places):
    assert right_places(target, ["a", "b", "c"]) == places


def test_what_has_no_choices_is_refused(load):
    with pytest.raises(UnsupportedError, match="letter"):
        load("tiny_sums")


PIECES = ["A", "B", "C", " ", "\n", ":", "：", "Answer", "answer is", "答案是", ".", ")", "(", "["]
PIECES += ["]", "x", "\t", "\u3000", "\r\n", "、"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@given(TEXTS)
def test_a_cue_is_found_at_the_end_as_by_searching_everywhere(text):
    found = _CUE_LINE.search(text) or _CUE.search(text)
    assert _without_cue(text) == (text[: found.start()] if found else text).strip()


@given(TEXTS, st.lists(st.sampled_from(["A", "B", "C", "^", "-", "]"]), min_size=1, max_size=4))
def test_labels_are_found_in_one_search_as_in_one_for_each(text, labels):
    signs = (rf"(?:^|[\s(\[]){re.escape(label)}\s*[.):\]、．]" for label in labels)
    each = all(re.search(sign, text, re.MULTILINE) for sign in signs)
    assert _are_listed(labels, text) == (len(set(labels)) == len(labels) and each)
