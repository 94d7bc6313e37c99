import pytest

from evalkit.records import Response, Sample
from evalkit.scoring.registry import bind
from evalkit.scoring.sandbox import available


@pytest.fixture
def score():
    """Score answers to one sample with a scorer named as in a definition."""

    def score(scorer, answers, target=None, doc=None, **params):
        sample = Sample(id="s", index=0, doc=doc or {}, target=target)
        answers = [answers] if isinstance(answers, (str, Response)) else answers
        responses = [Response(text=a) if isinstance(a, str) else a for a in answers]
        return bind(scorer, params).score(sample, responses)

    return score


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("sandbox")]
    reason = available() if marked else None
    for item in marked if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))
