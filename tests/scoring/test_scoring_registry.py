import sys

import pytest

from evalkit.errors import ConfigError, UnknownNameError
from evalkit.records import Score
from evalkit.scoring.registry import bind, scorer_names


def test_every_name_gives_a_scorer_of_that_name():
    required = {"reasoning_gym": {"dataset": "a.b", "version": "1", "sha256": "0"}}
    for name in scorer_names():
        bound = bind(name, required.get(name, {}))
        assert bound.scorer.name == name
        assert bound.metrics


def test_an_unknown_scorer_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'exact_match'"):
        bind("exact_mach", {})


def test_an_unknown_parameter_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'ignore_case'"):
        bind("exact_match", {"ignore_cases": True})


def test_a_parameter_of_the_wrong_type_is_named():
    with pytest.raises(ConfigError, match=r"scorer 'code': Expected `float`.*timeout_s"):
        bind("code", {"timeout_s": "long"})


def test_the_identity_tells_versions_and_parameters_apart():
    plain, strict = bind("exact_match", {}), bind("exact_match", {"ignore_case": False})
    assert plain.identity["name"] == "exact_match"
    assert plain.identity != strict.identity


PLUGIN = """
from evalkit.scoring.scorer import NoParams, Scorer, Verdict, mean_score, named

def loud(sample, answers, params):
    return mean_score(answers, lambda a: Verdict(values={"loud": float(a.text.isupper())}))

SCORER = Scorer(name="loud", version="1", params=NoParams, score=loud, metrics=named("loud"))
OTHER = "not a scorer"
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package with entry points, as pip would lay it down."""
    (tmp_path / "loud_plugin.py").write_text(PLUGIN)
    info = tmp_path / "loud_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-plugin\nVersion: 1.0\n")
    points = "[evalkit.scorers]\nloud = loud_plugin:SCORER\nwrong = loud_plugin:OTHER\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("loud_plugin", None)


@pytest.mark.usefixtures("plugin")
def test_a_package_adds_a_scorer_by_an_entry_point(score):
    assert "loud" in scorer_names()
    assert score("loud", "HELLO") == Score(values={"loud": 1.0})


@pytest.mark.usefixtures("plugin")
def test_an_entry_point_that_is_no_scorer_is_named():
    with pytest.raises(ConfigError, match=r"entry point 'wrong' .* gives a str, not a Scorer"):
        bind("wrong", {})
