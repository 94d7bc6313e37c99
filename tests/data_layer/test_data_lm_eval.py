"""lm-eval's own tasks, built on a mirror of real benchmark rows with no network."""

import warnings

import pytest

from evalkit.data.options import DataOptions
from evalkit.data.redirect import redirected


@pytest.fixture(scope="module")
def manager():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lm-eval's own, not ours to keep quiet
        from lm_eval.tasks import TaskManager

        return TaskManager()


@pytest.mark.mirror
@pytest.mark.slow  # lm-eval reads all its YAML files first
@pytest.mark.parametrize("name", ["gsm8k", "arithmetic_2ds", "mmlu_anatomy"])
def test_a_task_is_built_from_the_mirror_alone(real_mirror, manager, tmp_path, name):
    options = DataOptions(mirror=str(real_mirror), offline=True, cache=str(tmp_path))
    with warnings.catch_warnings(), redirected(options) as origins:
        warnings.simplefilter("ignore")
        task = manager.load([name])["tasks"][name]
    assert task.doc_to_text(next(iter(task.eval_docs)))
    assert [origin.fingerprint[:7] for origin in origins] == ["mirror:"]
