"""Requests made of lm-eval's instances."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import UnsupportedError
from evalkit.records import Message, Sampling
from evalkit.tasks.lm_eval.prompts import (
    FewshotState,
    read_prompt,
    read_sampling,
    serialise_messages,
)

turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}
    ),
    min_size=1,
)


@given(turns)
def test_messages_are_read_back_as_they_were(history):
    read = read_prompt(serialise_messages(history))
    assert [{"role": turn.role, "content": turn.content} for turn in read] == history


@given(st.text())
def test_any_other_text_stays_text(text):
    assert read_prompt(text) == text


def test_text_behind_the_messages_begins_the_answer():
    prompt = serialise_messages([{"role": "user", "content": "Why?"}]) + " Because"
    assert read_prompt(prompt)[-1] == Message(role="assistant", content=" Because")


def test_text_behind_a_begun_answer_goes_on_with_it():
    history = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Be"}]
    assert read_prompt(serialise_messages(history) + "cause")[-1].content == "Because"


@pytest.mark.parametrize(
    ("arguments", "sampling"),
    [
        ({}, Sampling(max_tokens=256)),
        ({"until": "\n", "max_gen_toks": 9}, Sampling(max_tokens=9, stop=("\n",))),
        ({"until": ["", "Q:"]}, Sampling(max_tokens=256, stop=("Q:",))),
        ({"max_new_tokens": 5, "num_beams": 1}, Sampling(max_tokens=5)),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.5}, Sampling(max_tokens=256)),
        (
            {"temperature": 0.7, "top_p": 0.5},
            Sampling(max_tokens=256, temperature=0.7, top_p=0.5),
        ),
        ({"do_sample": True}, Sampling(max_tokens=256, temperature=1.0)),
    ],
)
def test_generation_arguments_are_normalised_as_by_lm_evals_models(arguments, sampling):
    assert read_sampling(arguments, {}) == sampling


def test_the_users_sampling_wins_over_the_tasks():
    assert read_sampling({"max_gen_toks": 9}, {"max_tokens": 77}).max_tokens == 77


def test_a_setting_that_no_request_carries_is_refused():
    with pytest.raises(UnsupportedError, match="num_beams"):
        read_sampling({"num_beams": 4}, {})


def state(generator, every):
    return FewshotState(
        draw=lambda index: generator.random(),
        generator=lambda: generator,
        reset=lambda: generator.seed(5),
        every=every,
    )


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 9))
def test_draws_do_not_depend_on_the_order_of_asking(order, every):
    generator = random.Random()
    generator.seed(5)
    expected = [generator.random() for _ in range(41)]
    kept = state(generator, every)
    for index in order:
        kept.at(index)
        assert generator.random() == expected[index]
        kept.passed()
