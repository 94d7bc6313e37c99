"""The search for garbage waits until a command has started."""

import gc

from evalkit.cli.collection import eased, settle


def test_it_seldom_runs_while_a_command_starts_and_then_as_before():
    before = gc.get_threshold()
    with eased():
        assert gc.get_threshold()[0] > 10 * before[0]
    assert gc.get_threshold() == before


def test_it_runs_as_usual_once_all_is_ready():
    usual = gc.get_threshold()
    try:
        with eased():
            settle()
            assert (gc.get_threshold(), gc.get_freeze_count() > 0) == (usual, True)
    finally:
        gc.unfreeze()
