import itertools
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.data.options import DataOptions
from evalkit.errors import ConfigError, DataError, InputError, UnknownNameError
from evalkit.records import Response, Sample, canonical
from evalkit.scoring.reasoning_gym import GymParams, create_dataset, final_answer
from evalkit.scoring.registry import bind
from evalkit.tasks.generators.generator import find_generator, read_params

SUMS = """
name: sums
version: "1"
generator: {name: arithmetic, params: {min_terms: 2, max_terms: 5}, seed: 7, size: 200000}
prompt: "{{ question }} ="
target: answer
scorer: {name: number}
"""
GYM = {
    "dataset": "arithmetic.chain_sum",
    "version": "0.1.25",
    "sha256": "7f17a3eddb13c015d7d4a755ed576a061df889faf9468bcc2cca334ebe9e0435",
}


def rows(name, params, seed=1, size=50):
    generator = find_generator(name)
    make = generator.make(read_params(generator, params), seed, size, DataOptions())
    return [make(index) for index in range(size)]


def test_the_same_seed_gives_the_same_rows():
    assert rows("arithmetic", {}) == rows("arithmetic", {})
    assert rows("arithmetic", {}) != rows("arithmetic", {}, seed=2)


def test_a_row_does_not_depend_on_how_many_there_are():
    assert rows("arithmetic", {}, size=5) == rows("arithmetic", {}, size=50)[:5]


@given(st.integers(2, 8), st.integers(1, 6), st.booleans(), st.integers(0, 2**32))
def test_sums_are_right_and_as_asked(terms, digits, subtract, seed):
    params = {"min_terms": 2, "max_terms": terms, "digits": digits, "subtract": subtract}
    for row in rows("arithmetic", params, seed, size=5):
        numbers = [int(n) for n in re.findall(r"[+-]?\d+", row["question"].replace(" ", ""))]
        assert sum(numbers) == row["answer"]
        assert 2 <= len(numbers) == row["terms"] <= terms
        assert all(0 < abs(n) < 10**digits for n in numbers)
        assert subtract or "-" not in row["question"]


def test_200_000_samples_stream_in_flat_memory(make_task):
    task = make_task(SUMS, name="sums")
    assert task.size(None) == 200_000
    for sample in itertools.islice(task.samples(None), 100):
        task.requests(sample, ())
    tracemalloc.start()
    for sample in itertools.islice(task.samples(None), 3_000):
        task.score(sample, [Response(text=str(sample.target))])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_worked_examples_are_drawn_by_another_seed(make_task):
    task = make_task(SUMS, name="sums", num_fewshot=2)
    prompt = task.requests(next(task.samples(1)), ())[0].prompt
    asked = {sample.doc["question"] for sample in task.samples(50)}
    assert len(prompt) == 5
    assert prompt[0].content.removesuffix(" =") not in asked


def test_the_data_fingerprint_names_what_rows_depend_on(make_task):
    def named(text):
        return make_task(text, name="sums").data_fingerprint()

    same = named(SUMS.replace("{{ question }} =", "{{ question }}"))
    changed = {
        named(SUMS.replace("seed: 7", "seed: 8")),
        named(SUMS.replace("200000", "200")),
        named(SUMS.replace("max_terms: 5", "max_terms: 6")),
    }
    assert named(SUMS) == same
    assert len(changed | {same}) == 4


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("arithmetic", "arithmetics", "Unknown generator 'arithmetics'. Did you mean 'arithmetic'"),
        ("max_terms", "max_term", "Unknown parameter of generator 'arithmetic': 'max_term'"),
        ("max_terms: 5", "max_terms: 1", "2 <= min_terms <= max_terms"),
        ("size: 200000", "size: 0", "'size' must be at least 1"),
    ],
)
def test_a_wrong_generator_is_named_by_line(make_task, wrong, right, says):
    with pytest.raises(ConfigError) as raised:
        make_task(SUMS.replace(wrong, right, 1), name="sums")
    assert says in str(raised.value)
    assert raised.value.line == 4


def test_an_unknown_generator_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'needle'"):
        find_generator("needel")


def test_needles_lie_at_all_lengths_and_depths():
    found = rows("needle", {"lengths": [500, 1500], "depths": [0.0, 0.5, 1.0]}, size=6)
    assert [(row["length"], row["depth"]) for row in found] == [
        (500, 0.0),
        (1500, 0.0),
        (500, 0.5),
        (1500, 0.5),
        (500, 1.0),
        (1500, 1.0),
    ]
    for row in found:
        assert row["length"] - 130 <= len(row["context"]) <= row["length"]
        place = row["context"].index(f"The code word of {row['cities'][0]}") / len(row["context"])
        assert abs(place - row["depth"]) < 0.2


def test_every_needle_stands_once_and_only_the_asked_are_wanted():
    for row in rows("needle", {"lengths": [3000], "needles": 5, "asked": 2}):
        assert row["context"].count("The code word of") == 5
        assert all(row["context"].count(code) == 1 for code in row["codes"])
        assert len(row["codes"]) == len(row["cities"]) == 2
        assert " and ".join(row["cities"]) in row["question"]
        assert len(re.findall(r"\d+", row["context"])) == 5


def test_a_long_haystack_has_its_length():
    (row,) = rows("needle", {"lengths": [100_000]}, size=1)
    assert 99_800 < len(row["context"]) <= 100_000


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so <answer> 5 </answer>.", "5"),
        ("<answer>4</answer> no, <ANSWER>5</ANSWER>", "5"),
        ("I think so: <answer>5", "5"),
        ("I think.\nAnswer: 5", "5"),
        ("The final answer is: **5**", "5"),
        ("I think\n5\n", "5"),
        ("", ""),
    ],
)
def test_the_final_answer_is_read(text, answer):
    assert final_answer(text) == answer


@given(st.text())
def test_any_text_has_a_final_answer(text):
    assert isinstance(final_answer(text), str)


@pytest.fixture
def gym(wheel_data):
    return wheel_data("gym_chain_sum")


@pytest.mark.slow
def test_reasoning_gym_rows_are_fixed_by_seed_and_scored_by_the_package(gym):
    dataset = create_dataset(GymParams(**GYM), seed=3, size=20)
    again = create_dataset(GymParams(**GYM), seed=3, size=20)
    scorer = bind("reasoning_gym", GYM)
    for index in range(20):
        row = dataset[index]
        assert row == again[index]
        sample = Sample(id="0", index=index, doc=row)
        for text, value in (
            (row["answer"], 1.0),
            (f"<answer>{row['answer']}</answer>", 1.0),
            ("nothing", 0.0),
        ):
            found = scorer.score(sample, [Response(text=text)])
            assert found.values["accuracy"] == value
        assert scorer.score(sample, [Response(text="")]).status == "unparsed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "gym_chain_sum",
        "gym_gsm_symbolic",
        "gym_knights_knaves",
        "gym_syllogism",
        "gym_spell_backward",
        "gym_word_sorting",
    ],
)
def test_the_right_answer_of_every_shipped_gym_task_scores_one(wheel_data, name):
    from evalkit.tasks.catalogue import load, select
    from evalkit.tasks.protocol import Prompting

    task = load(select([name]).tasks[0], Prompting(), wheel_data(name))
    for sample in task.samples(10):
        assert canonical(sample)
        answer = Response(text=f"<answer>{sample.target}</answer>")
        assert task.score(sample, [answer]).values == {"accuracy": 1.0, "score": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"dataset": "arithmetic.chain_sums"}, InputError, "no data set 'arithmetic.chain_sums'"),
        ({"dataset": "chain_sum"}, InputError, "no data set 'chain_sum'"),
        ({"dataset": "..os.path"}, InputError, "no data set '..os.path'"),
        ({"config": {"min_term": 1}}, InputError, "refuses the config"),
        ({"config": {"min_terms": -1}}, InputError, "refuses the config"),
        ({"sha256": "0" * 64}, DataError, "has SHA-256|is not cached"),
    ],
)
def test_what_reasoning_gym_has_not_is_one_sentence(gym, change, error, says):
    params = GymParams(**{**GYM, **change})
    with pytest.raises(error, match=says):
        create_dataset(params, seed=1, size=1, offline=True)


@pytest.mark.slow
def test_importing_a_data_set_runs_no_other(gym):
    import sys

    create_dataset(GymParams(**GYM), seed=1, size=1)
    assert "reasoning_gym.algebra.simple_integration" not in sys.modules
