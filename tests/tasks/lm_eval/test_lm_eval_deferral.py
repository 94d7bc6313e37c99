"""Modules that are loaded when something in them is used."""

import importlib
import os
import sys
import threading
import types

import pytest

from evalkit.tasks.lm_eval.deferral import deferred
from evalkit.tasks.lm_eval.runtime import metrics_offline

MODULE = """
import sys
sys.late_loads = getattr(sys, "late_loads", 0) + 1
VALUE = 41
def more():
    return VALUE + 1
"""


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A module that is deferred, and how often it was loaded."""

    def make(text=MODULE):
        (tmp_path / "late_module.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(sys, "late_loads", 0, raising=False)
        monkeypatch.delitem(sys.modules, "late_module", raising=False)
        with deferred(["late_module"]):
            return importlib.import_module("late_module")

    yield make
    sys.modules.pop("late_module", None)


def test_importing_does_not_load(late):
    late()
    assert sys.late_loads == 0


def test_the_first_use_loads_it_whole_and_once(late):
    module = late()
    assert (module.more(), module.VALUE, sys.late_loads) == (42, 41, 1)


def test_importing_it_again_gives_the_same_module(late):
    module = late()
    from late_module import more

    assert (importlib.import_module("late_module") is module, more()) == (True, 42)


def test_a_name_that_it_lacks_is_an_attribute_error(late):
    module = late()
    with pytest.raises(AttributeError, match="late_module"):
        module.nothing  # noqa: B018


def test_it_can_be_loaded_anew(late):
    module = late()
    assert importlib.reload(module).VALUE == 41


def test_an_error_in_it_comes_when_it_is_used(late):
    module = late("raise ValueError('broken')")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            module.anything  # noqa: B018


def test_several_threads_load_it_once(late):
    module = late()
    ready, values = threading.Barrier(8), []

    def use():
        ready.wait()
        values.append(module.more())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (values, sys.late_loads) == ([42] * 8, 1)


def test_other_modules_are_found_as_ever(tmp_path, monkeypatch):
    (tmp_path / "early_module.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with deferred(["late_module"]):
        module = importlib.import_module("early_module")
    assert vars(module)["VALUE"] == 1


def test_metrics_that_are_loaded_are_switched_offline_and_back(monkeypatch):
    config = types.ModuleType("evaluate.config")
    config.HF_EVALUATE_OFFLINE = False
    monkeypatch.setitem(sys.modules, "evaluate.config", config)
    with metrics_offline(True):
        assert config.HF_EVALUATE_OFFLINE is True
    assert config.HF_EVALUATE_OFFLINE is False


def test_metrics_that_are_loaded_meanwhile_find_the_switch(monkeypatch):
    monkeypatch.delitem(sys.modules, "evaluate.config", raising=False)
    monkeypatch.delenv("HF_EVALUATE_OFFLINE", raising=False)
    with metrics_offline(True):
        assert os.environ["HF_EVALUATE_OFFLINE"] == "1"
        config = types.ModuleType("evaluate.config")
        config.HF_EVALUATE_OFFLINE = True
        monkeypatch.setitem(sys.modules, "evaluate.config", config)
    assert "HF_EVALUATE_OFFLINE" not in os.environ
    assert config.HF_EVALUATE_OFFLINE is False
