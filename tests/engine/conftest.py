import pytest
from engine_world import Collected, VirtualTime, asker_with

from evalkit.engine.journal import Journal


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


@pytest.fixture
def collected():
    return Collected()


@pytest.fixture
def time():
    return VirtualTime()


@pytest.fixture
def asker(journal, time):
    return asker_with(journal, time)
