import msgspec
import pytest

from evalkit.config.run_config import ModelEntry, RunConfig, check_config, identity
from evalkit.errors import InputError

GOOD = RunConfig(models=("scripted/echo",), tasks=("arc_easy",))


def but(**changes):
    return msgspec.structs.replace(GOOD, **changes)


def test_a_whole_config_passes():
    assert check_config(GOOD) is GOOD


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ()}, "No model"),
        ({"tasks": ()}, "No task"),
        ({"limit": 0}, "limit must be a whole number"),
        ({"limit": -3}, "limit must be a whole number"),
        ({"limit": 2.5}, "limit must be a whole number"),
        ({"limit": float("nan")}, "limit must be a whole number"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"num_fewshot": -1}, "num_fewshot must be at least 0"),
        ({"temperature": -0.1}, "temperature must be at least 0"),
        ({"max_cost": -1.0}, "max_cost must be at least 0"),
        ({"deadline_s": 0.0}, "deadline_s must be above 0"),
        ({"max_errors": 1.5}, "share between 0 and 1"),
        ({"models": ("gpt",)}, "provider/name"),
        ({"models": ("scripted/echo", "scripted/echo")}, "both called"),
        ({"models": (ModelEntry(model="scripted/echo", max_tokens=0),)}, "max_tokens of"),
    ],
)
def test_a_senseless_setting_is_named(changes, words):
    with pytest.raises(InputError, match=words):
        check_config(but(**changes))


@pytest.mark.parametrize("limit", [1, 40, 0.5, 3.0])
def test_sensible_limits_pass(limit):
    assert check_config(but(limit=limit)).limit == limit


def test_two_models_of_one_name_pass_under_aliases():
    models = (ModelEntry(model="scripted/echo", alias="a"), "scripted/echo")
    assert check_config(but(models=models))


@pytest.mark.parametrize(
    "changes", [{"concurrency": 3}, {"max_cost": 1.0}, {"cache": False}, {"mirror": "/m"}]
)
def test_how_fast_and_how_dear_does_not_make_another_run(changes):
    assert identity(but(**changes)) == identity(GOOD)


@pytest.mark.parametrize(
    "changes", [{"limit": 5}, {"seed": 1}, {"temperature": 0.5}, {"models": ("scripted/first",)}]
)
def test_what_is_asked_makes_another_run(changes):
    assert identity(but(**changes)) != identity(GOOD)


def test_a_spec_and_an_entry_that_say_the_same_are_the_same_run():
    entry = ModelEntry(model="scripted/echo", params={"seed": 1})
    assert identity(but(models=(entry,))) == identity(but(models=("scripted/echo?seed=1",)))
