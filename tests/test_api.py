import subprocess
import sys

import pytest
from command import sums

import evalkit
from evalkit.errors import InputError, UnknownNameError
from evalkit.models.scripted import ScriptedModel


def echo(request):
    return "42"


def evaluate(tmp_path, **settings):
    sums(tmp_path / "tasks", 5)
    settings = {"output": str(tmp_path / "run")} | settings
    return evalkit.evaluate(
        models=[ScriptedModel(echo, name="mine")],
        tasks=["sums"],
        include_path=[str(tmp_path / "tasks")],
        **settings,
    )


def test_a_model_made_in_python_is_evaluated(tmp_path):
    run = evaluate(tmp_path)
    assert run.state == "done"
    assert run.scores[["model", "task", "metric", "n"]].values.tolist() == [
        ["mine", "sums", "exact_match", 5]
    ]


def test_its_samples_are_read_lazily(tmp_path):
    samples = evaluate(tmp_path).samples("sums", "mine")
    assert next(samples).responses[0].text == "42"


def test_a_run_is_loaded_again_from_its_folder(tmp_path):
    run = evaluate(tmp_path)
    assert evalkit.load_run(run.path).scores.equals(run.scores)


async def test_it_works_where_an_event_loop_runs(tmp_path):
    assert evaluate(tmp_path).state == "done"


async def test_it_can_be_awaited(tmp_path):
    sums(tmp_path / "tasks", 5)
    run = await evalkit.evaluate_async(
        [ScriptedModel(echo, name="mine")],
        ["sums"],
        include_path=[str(tmp_path / "tasks")],
        output=str(tmp_path / "run"),
    )
    assert run.state == "done"


def test_an_unknown_setting_offers_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'limt'.*'limit'"):
        evaluate(tmp_path, limt=3)


def test_a_setting_of_the_wrong_type_is_named(tmp_path):
    with pytest.raises(InputError, match="seed"):
        evaluate(tmp_path, seed="soon")


def test_the_public_names_are_those_that_are_told():
    assert dir(evalkit) == sorted(evalkit.__all__)
    assert all(getattr(evalkit, name) is not None for name in evalkit.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'evaluatee'"):
        evalkit.evaluatee  # noqa: B018 - the access is what is tested


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import evalkit, sys; print([m for m in ('numpy', 'pandas', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
